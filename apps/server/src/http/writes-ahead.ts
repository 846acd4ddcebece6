import type { preValidationHookHandler } from 'fastify';
import { LRUCache } from 'lru-cache';
import type { Position } from '#lib/event-store';
import { WaylogError } from '#lib/platform';
import { RequestWork } from './request-work.js';
import { bodyLength } from './whole-body.js';
import { isCommandRequest, type BytesOf } from './work-in-turn.js';

/** How far the tables may be behind what one caller has written: some 4,000 frames, which are folded within half a second. */
const MAX_AHEAD = 512 * 1024;
/** The longest that a command waits for the tables. */
const MAX_WAIT_MS = 5_000;
/** How often a command that waits looks whether the tables still move. */
const LOOK_MS = 1_000;
/** Answers are noted together up to this many bytes. */
const NOTED = 64 * 1024;
const MAX_CALLERS = 10_000;

/** What the tables of the log hold. */
export interface Tables {
  /** Resolves when they hold the log up to a position. Throws `projection.behind` after so many milliseconds. */
  waitFor(position: Position, ms: number): Promise<void>;
  compare(a: Position, b: Position): number;
  /** Whether somebody keeps them. */
  areKept(): Promise<boolean>;
}

/** Commands of a caller. */
interface Account {
  /** Of those under way, and of those that the tables do not hold. */
  bytes: number;
  /** Those that were answered, oldest first. */
  readonly answered: { bytes: number; position: Position }[];
  readonly waiting: { readonly bytes: number; readonly begin: () => void }[];
  isFollowing: boolean;
}

/**
 * Lets no caller get far ahead of the tables. They follow in the order of the log, so others could read what they have written
 * only after all that was written before. Bodies are the measure. Who is too far ahead waits until the tables have followed;
 * nobody waits while nobody keeps the tables, as commands are taken then too.
 */
export class WritesAhead {
  readonly #accounts = new LRUCache<string, Account>({ max: MAX_CALLERS });

  constructor(
    private readonly tables: Tables,
    private readonly bytesOf: BytesOf = bodyLength,
    private readonly maxWaitMs = MAX_WAIT_MS,
  ) {}

  readonly preValidation: preValidationHookHandler = (request, reply, done) => {
    const { actor } = request;
    const bytes = actor !== undefined && isCommandRequest(request) ? this.bytesOf(request) : 0;
    if (actor === undefined || bytes === 0) {
      done();
      return;
    }
    const account = this.#accountOf(actor);
    let hasBegun = false;
    const write = {
      bytes,
      begin: () => {
        hasBegun = true;
        account.bytes += bytes;
        done();
      },
    };
    const work = RequestWork.of(request, reply);
    work.onEnd(() => {
      if (hasBegun) this.#end(account, bytes, work.position);
      else account.waiting.splice(account.waiting.indexOf(write), 1);
      this.#follow(account);
    });
    account.waiting.push(write);
    this.#follow(account);
  };

  #accountOf(caller: string): Account {
    let account = this.#accounts.get(caller);
    if (!account) {
      account = { bytes: 0, answered: [], waiting: [], isFollowing: false };
      this.#accounts.set(caller, account);
    }
    return account;
  }

  #end(account: Account, bytes: number, position: Position | undefined): void {
    const last = account.answered.at(-1);
    if (position === undefined) account.bytes -= bytes;
    else if (last && last.bytes + bytes <= NOTED) {
      last.bytes += bytes;
      // A repeat has the position of the first time.
      if (this.tables.compare(position, last.position) > 0) last.position = position;
    } else account.answered.push({ bytes, position });
  }

  /** Begins what can begin, and waits for the tables if something cannot. */
  #follow(account: Account): void {
    for (let [next] = account.waiting; next && fits(account, next.bytes); [next] = account.waiting) {
      account.waiting.shift();
      next.begin();
    }
    if (account.waiting.length === 0 || account.isFollowing) return;
    const oldest = account.answered.shift();
    // Otherwise those under way follow when they end.
    if (!oldest) return;
    account.isFollowing = true;
    const follow = () => {
      account.isFollowing = false;
      account.bytes -= oldest.bytes;
      this.#follow(account);
    };
    this.#arrival(oldest.position).then(follow, follow);
  }

  async #arrival(position: Position): Promise<void> {
    const end = performance.now() + this.maxWaitMs;
    for (
      let left = this.maxWaitMs;
      left > 0 && (await this.tables.areKept());
      left = end - performance.now()
    ) {
      try {
        await this.tables.waitFor(position, Math.min(left, LOOK_MS));
        return;
      } catch (error) {
        if (!(error instanceof WaylogError) || error.code !== 'projection.behind') throw error;
      }
    }
  }
}

const fits = ({ bytes }: Account, more: number): boolean => bytes === 0 || bytes + more <= MAX_AHEAD;
