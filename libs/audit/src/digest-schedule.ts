import type { KeyObject } from 'node:crypto';
import type { Pool } from 'pg';
import { Background, messageOf, pause, readRows, WaylogError } from '#lib/platform';
import type { DigestStatement, SigningKey } from './digest.js';
import { writeDigestFiles } from './digest-files.js';
import { takeDigest, withOwn, type Seen } from './take-digest.js';

export interface DigestScheduleOptions {
  readonly pool: Pool;
  readonly key: SigningKey;
  /** Public keys of digests that another key has signed, by id. */
  readonly keys?: ReadonlyMap<string, KeyObject> | undefined;
  /** Where digests go as files, too. */
  readonly folder?: string | undefined;
  /** The types of the events after which a stream must have no data key any more. */
  readonly erasedBy: readonly string[];
  /** A digest in every so many milliseconds since 1970: a day begins at midnight UTC. */
  readonly everyMs: number;
  /** And as soon as so many events have come since the last one; 0 for never. */
  readonly everyEvents: number;
  /** In which time every event of the log is walked again. */
  readonly roundMs: number;
  readonly log: { info(message: string): void; warn(message: string): void };
  /** How often it is looked whether a digest is due. */
  readonly lookMs?: number;
}

const LOOK_MS = 600_000;
const LOOK_FOR_EVENTS_MS = 10_000;

/**
 * Looks through the log, and signs a digest of it, again and again. Any number of processes may run one; one of them signs
 * it. What a process has seen it remembers, so that nobody takes it back while it runs.
 */
export class DigestSchedule {
  readonly #background = new Background((signal) => this.#run(signal));
  readonly #options: DigestScheduleOptions;
  #problems = 0;
  #seen: Seen | undefined;
  #lookedAt = -Infinity;
  /** Since when no look has come to an end. */
  #failingSince: number | undefined;
  /** When the look under way began, or has come by an event. */
  #movedAt: number | undefined;

  constructor(options: DigestScheduleOptions) {
    this.#options = options;
  }

  /** Things that were not as recorded when a digest was last due; none is signed then. */
  get problems(): number {
    return this.#problems;
  }

  /** How long ago the log was last looked through to its end, in milliseconds; undefined before the first time. */
  get lookedMsAgo(): number | undefined {
    return this.#lookedAt === -Infinity ? undefined : Date.now() - this.#lookedAt;
  }

  /** For how long looking has failed, whatever the reason, or has come no further, in milliseconds. */
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
        // Whoever takes the folder or the keys away must not be able to silence it.
        if (error instanceof WaylogError && error.code.startsWith('audit.')) {
          this.#problems = (error.data['problems'] as readonly unknown[] | undefined)?.length ?? 1;
          this.#failingSince = undefined;
          // Nor whoever makes it fail: nobody looks then.
        } else this.#failingSince ??= this.#movedAt;
        // Being stopped is no failure.
        if (error !== signal.reason) log.warn(`The digest that is due was not taken: ${messageOf(error)}`);
      }
      this.#movedAt = undefined;
      await pause(lookMs, signal);
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { pool, key, folder, keys, erasedBy, roundMs, log } = this.#options;
    const now = new Date();
    if (await this.#mustLook(now)) {
      const { digest, seen } = await takeDigest(pool, key, {
        keys,
        folder,
        erasedBy,
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

  /** Whether to look. What the database says of digests is not asked: nothing of it is checked before. */
  async #mustLook(now: Date): Promise<boolean> {
    const { pool, everyMs, everyEvents } = this.#options;
    const seen = this.#seen;
    // What was not sound is looked at again until it is.
    if (!seen || this.#problems > 0) return true;
    if (Math.floor(this.#lookedAt / everyMs) !== Math.floor(now.getTime() / everyMs)) return true;
    const [row] = await readRows(pool, 'audit.end', `select coalesce(max(position), 0) from log.events`, []);
    const grown = BigInt(row?.[0] ?? '0') - BigInt(seen.position);
    return grown < 0n || (everyEvents > 0 && grown >= BigInt(everyEvents));
  }

  /** Whether the interval of the last digest is over, or enough has come since: another process may have taken one. */
  #isOver(last: DigestStatement | undefined, now: Date, position: bigint): boolean {
    const { everyMs, everyEvents } = this.#options;
    if (!last) return true;
    // Its time may lie in the future, for whatever reason: another interval is another interval.
    if (Math.floor(Date.parse(last.takenAt) / everyMs) !== Math.floor(now.getTime() / everyMs)) return true;
    return everyEvents > 0 && position - BigInt(last.position) >= BigInt(everyEvents);
  }
}
