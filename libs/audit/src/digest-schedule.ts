import type { KeyObject } from 'node:crypto';
import type { Pool } from 'pg';
import type { Vocabulary } from '#lib/event-store';
import { Background, messageOf, pause, readRows, WaylogError } from '#lib/platform';
import type { DigestStatement, SigningKey } from './digest.js';
import { writeDigestFiles } from './digest-files.js';
import { takeDigest, withOwn, type Seen } from './take-digest.js';

export interface DigestScheduleOptions {
  readonly pool: Pool;
  readonly key: SigningKey;
  /** Public keys of digests that another key has signed, by id. */
  readonly keys?: ReadonlyMap<string, KeyObject> | undefined;
  /** The folder in which digests are also stored as files. */
  readonly folder?: string | undefined;
  /** The types of the events after which a stream must no longer have a data key. */
  readonly vocabulary: Vocabulary;
  /** The interval of digests in milliseconds, counted from 1970: a day begins at midnight UTC. */
  readonly everyMs: number;
  /** A digest is also taken after this many new events; 0 for never. */
  readonly everyEvents: number;
  /** The time within which every event of the log is walked again. */
  readonly roundMs: number;
  readonly log: { info(message: string): void; warn(message: string): void };
  /** How often to check whether a digest is due. */
  readonly lookMs?: number;
}

const LOOK_MS = 600_000;
const LOOK_FOR_EVENTS_MS = 10_000;

/**
 * Checks the log and signs a digest of it, repeatedly. Any number of processes can run it; one of them signs. A process
 * remembers what it has seen, so that it cannot be taken back while the process runs.
 */
export class DigestSchedule {
  readonly #background = new Background((signal) => this.#run(signal));
  readonly #options: DigestScheduleOptions;
  #problems = 0;
  #seen: Seen | undefined;
  #lookedAt = -Infinity;
  /** The time since which no check has completed. */
  #failingSince: number | undefined;
  /** When the running check began, or last read an event. */
  #movedAt: number | undefined;

  constructor(options: DigestScheduleOptions) {
    this.#options = options;
  }

  /** The problems found when a digest was last due; no digest is signed while there are any. */
  get problems(): number {
    return this.#problems;
  }

  /** How long ago the log was last checked to its end, in milliseconds; undefined before the first time. */
  get lookedMsAgo(): number | undefined {
    return this.#lookedAt === -Infinity ? undefined : Date.now() - this.#lookedAt;
  }

  /** For how long checks have failed, for any reason, or have made no progress, in milliseconds. */
  get stalledMs(): number {
    const since = this.#failingSince ?? this.#movedAt;
    return since === undefined ? 0 : Date.now() - since;
  }

  start(): void {
    this.#background.start();
  }

  stop(): Promise<void> {
    return this.#background.stop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { everyMs, everyEvents, log } = this.#options;
    const lookMs =
      this.#options.lookMs ?? Math.min(LOOK_MS, everyMs / 4, everyEvents > 0 ? LOOK_FOR_EVENTS_MS : LOOK_MS);
    while (!signal.aborted) {
      this.#movedAt = Date.now();
      try {
        await this.#look(signal);
        this.#failingSince = undefined;
      } catch (error) {
        // Removing the folder or the keys must not silence this.
        if (error instanceof WaylogError && error.code.startsWith('audit.')) {
          this.#problems = (error.data['problems'] as readonly unknown[] | undefined)?.length ?? 1;
          this.#failingSince = undefined;
          // Making it fail must not silence it either: while it fails, nothing is checked.
        } else this.#failingSince ??= this.#movedAt;
        // Being stopped is not a failure.
        if (error !== signal.reason) log.warn(`The digest that is due was not taken: ${messageOf(error)}`);
      }
      this.#movedAt = undefined;
      await pause(lookMs, signal);
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { pool, key, folder, keys, vocabulary, roundMs, log } = this.#options;
    const now = new Date();
    if (await this.#mustLook(now)) {
      const { digest, seen } = await takeDigest(pool, key, {
        keys,
        folder,
        vocabulary,
        roundMs,
        seen: this.#seen,
        isDue: (last, position) => this.#isOver(last, now, position),
        now,
        signal,
        onEvents: () => (this.#movedAt = Date.now()),
      });
      this.#seen = seen;
      this.#lookedAt = now.getTime();
      this.#problems = 0;
      if (digest) log.info(`Digest ${digest.number} of the log was signed by the key ${digest.keyId}`);
    }
    if (folder !== undefined) await writeDigestFiles(pool, folder, withOwn(key, keys));
  }

  /** Whether to check. What the database says of digests is not used: none of it has been verified yet. */
  async #mustLook(now: Date): Promise<boolean> {
    const { pool, everyMs, everyEvents } = this.#options;
    const seen = this.#seen;
    // If there were problems, check again until there are none.
    if (!seen || this.#problems > 0) return true;
    if (Math.floor(this.#lookedAt / everyMs) !== Math.floor(now.getTime() / everyMs)) return true;
    const [row] = await readRows(pool, 'audit.end', `select coalesce(max(position), 0) from log.events`, []);
    const grown = BigInt(row?.[0] ?? '0') - BigInt(seen.position);
    return grown < 0n || (everyEvents > 0 && grown >= BigInt(everyEvents));
  }

  /**
   * Whether the interval of the last digest is over, or enough events have come since: another process may have taken
   * one.
   */
  #isOver(last: DigestStatement | undefined, now: Date, position: bigint): boolean {
    const { everyMs, everyEvents } = this.#options;
    if (!last) return true;
    // Its time can lie in the future, for any reason: any other interval counts.
    if (Math.floor(Date.parse(last.takenAt) / everyMs) !== Math.floor(now.getTime() / everyMs)) return true;
    return everyEvents > 0 && position - BigInt(last.position) >= BigInt(everyEvents);
  }
}
