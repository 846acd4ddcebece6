import type { Pool } from 'pg';
import { Background, messageOf, pause, WaylogError } from '#lib/platform';
import { statementOf, type SigningKey } from './digest.js';
import { lastDigest, writeDigestFiles } from './digests.js';
import { takeDigest } from './take-digest.js';

export interface DigestScheduleOptions {
  readonly pool: Pool;
  readonly key: SigningKey;
  /** Where digests go as files, too. */
  readonly folder?: string | undefined;
  readonly log: { info(message: string): void; warn(message: string): void };
  /** How often it is looked whether a digest is due. */
  readonly intervalMs?: number;
}

/** Takes a digest a day (UTC), when the log has grown. Any number of processes may run one; one of them takes it. */
export class DigestSchedule {
  readonly #background = new Background((signal) => this.#run(signal));
  readonly #options: DigestScheduleOptions;
  #brokenStreams = 0;

  constructor(options: DigestScheduleOptions) {
    this.#options = options;
  }

  /** Streams whose chain did not hold when a digest was last due; none is signed then. */
  get brokenStreams(): number {
    return this.#brokenStreams;
  }

  start(): void {
    this.#background.start();
  }

  stop(): Promise<void> {
    return this.#background.stop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { intervalMs = 600_000, log } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#whenDue(signal);
      } catch (error) {
        if (error instanceof WaylogError && error.code === 'audit.broken')
          this.#brokenStreams = (error.data['problems'] as readonly unknown[]).length;
        // Being stopped is no failure.
        if (error !== signal.reason) log.warn(`The digest of the day was not taken: ${messageOf(error)}`);
      }
      await pause(intervalMs, signal);
    }
  }

  async #whenDue(signal: AbortSignal): Promise<void> {
    const { pool, key, folder, log } = this.#options;
    const now = new Date();
    const last = await lastDigest(pool);
    const lastDay = last && statementOf(last.document)?.takenAt.slice(0, 10);
    if (lastDay !== now.toISOString().slice(0, 10)) {
      const digest = await takeDigest(pool, key, { now, signal });
      this.#brokenStreams = 0;
      if (digest) log.info(`Digest ${digest.number} of the log was signed by the key ${digest.keyId}`);
    }
    if (folder !== undefined) await writeDigestFiles(pool, folder);
  }
}
