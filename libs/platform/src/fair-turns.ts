import { LRUCache } from 'lru-cache';

export interface FairTurnsOptions {
  /** How much may be at work at a time, of one key and of all. */
  readonly ofKey: number;
  readonly ofAll: number;
}

/** The place of one work. */
export interface Turn {
  /** Ends the turn, at any time: a work that has not begun never does. */
  end(): void;
}

interface Waiting {
  readonly weight: number;
  readonly arrival: number;
  readonly begin: () => void;
}

interface OfKey {
  atWork: number;
  /** When its last work began. */
  served: number;
  readonly waiting: Waiting[];
}

/** How many keys are remembered that were put last. */
const MAX_REMEMBERED = 10_000;

/**
 * Limits how much is at work at a time, of each key and of all. The next turn goes to the key that has least at work, among
 * those to the one that has waited longest since its last turn: however much of one key waits, nobody waits behind it.
 */
export class FairTurns {
  readonly #keys = new Map<string, OfKey>();
  readonly #last = new LRUCache<string, true>({ max: MAX_REMEMBERED });
  #atWork = 0;
  #count = 0;

  constructor(private readonly options: FairTurnsOptions) {}

  /** How many works of a key wait. */
  waiting(key: string): number {
    return this.#keys.get(key)?.waiting.length ?? 0;
  }

  /** Calls `begin` when it is the work's turn, which can be at once. */
  ask(key: string, begin: () => void, weight = 1): Turn {
    const ofKey = this.#keys.get(key) ?? { atWork: 0, served: 0, waiting: [] };
    this.#keys.set(key, ofKey);
    let hasBegun = false;
    let isOver = false;
    const work: Waiting = {
      weight: Math.min(weight, this.options.ofKey),
      arrival: ++this.#count,
      begin: () => {
        hasBegun = true;
        begin();
      },
    };
    ofKey.waiting.push(work);
    this.#next();
    return {
      end: () => {
        if (isOver) return;
        isOver = true;
        if (hasBegun) {
          ofKey.atWork -= work.weight;
          this.#atWork -= work.weight;
        } else ofKey.waiting.splice(ofKey.waiting.indexOf(work), 1);
        if (ofKey.atWork === 0 && ofKey.waiting.length === 0) this.#keys.delete(key);
        this.#next();
      },
    };
  }

  /** Runs `work` when it is its turn. Rejects with the reason of `signal` if that is aborted before. */
  async run<T>(key: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    let turn: Turn | undefined;
    let leave: (() => void) | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        signal?.throwIfAborted();
        leave = () => {
          reject(signal?.reason as Error);
        };
        signal?.addEventListener('abort', leave);
        turn = this.ask(key, resolve);
      });
      return await work();
    } finally {
      if (leave) signal?.removeEventListener('abort', leave);
      turn?.end();
    }
  }

  /** A key comes after all others for so many milliseconds. */
  putLast(key: string, ms: number): void {
    this.#last.set(key, true, { ttl: ms });
  }

  isLast(key: string): boolean {
    return this.#last.has(key);
  }

  #next(): void {
    for (let first = this.#first(); first; first = this.#first()) {
      const { weight, begin } = first.waiting[0] as Waiting;
      // What is light does not overtake what is heavy: that might never begin.
      if (this.#atWork + weight > this.options.ofAll) return;
      first.waiting.shift();
      first.atWork += weight;
      this.#atWork += weight;
      first.served = ++this.#count;
      begin();
    }
  }

  /** The key whose turn is next. */
  #first(): OfKey | undefined {
    let first: OfKey | undefined;
    let rank: readonly number[] = [];
    for (const [key, ofKey] of this.#keys) {
      const [head] = ofKey.waiting;
      if (!head || ofKey.atWork + head.weight > this.options.ofKey) continue;
      const ownRank = [Number(this.isLast(key)), ofKey.atWork, ofKey.served, head.arrival];
      if (first && !isBefore(ownRank, rank)) continue;
      first = ofKey;
      rank = ownRank;
    }
    return first;
  }
}

/** Compares by the first number that differs. */
function isBefore(a: readonly number[], b: readonly number[]): boolean {
  for (const [i, value] of a.entries()) if (value !== b[i]) return value < (b[i] ?? 0);
  return false;
}
