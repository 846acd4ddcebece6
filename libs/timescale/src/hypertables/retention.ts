import type { Pool } from 'pg';
import { Background, messageOf, pause, counted } from '#lib/platform';
import { capabilities } from '../capabilities.js';
import { notePolicyDrops } from './dropped-ranges.js';
import { dropOld } from './hypertables.js';
import { restorePolicies } from './policies.js';
import type { ChunkInfo } from './models.js';
import { inBriefTransaction, withSession } from './session.js';

/** Held while chunks are dropped by schedule: of several servers one does it. */
const RETENTION_LOCK = 7239100406;

export interface RetentionRun {
  readonly tableName: string;
  readonly dropped: readonly ChunkInfo[];
  /** Policies and compression that the settings require, that the table lacked, and that were created again. */
  readonly restored?: readonly string[];
  /** Why it failed for this table, if it did. The others continue. */
  readonly error?: string;
}

/**
 * Drops the chunks that are older than the retention of their table, if TimescaleDB has no policies. If it has, records
 * what they have dropped, and creates missing ones again. Returns a line for each table whose retention is applied
 * here, or that lacked something; undefined while another process does it.
 */
export function applyRetention(pool: Pool, now = new Date()): Promise<RetentionRun[]> {
  return withSession(pool, 'waylog retention', async (client) => {
    const { rows: lock } = await client.query<{ free: boolean }>(`select pg_try_advisory_lock($1) as free`, [
      RETENTION_LOCK,
    ]);
    if (!lock[0]?.free) return [];
    const can = await capabilities(client);
    const restored = (await restorePolicies(client, can)).map((table) => ({ ...table, dropped: [] }));
    await notePolicyDrops(client);
    if (can.retentionPolicies.available) return restored;
    const { rows } = await client.query<{ schema: string; name: string; retention: string }>(
      `select table_schema as schema, table_name as name, retention::text
         from timescale.hypertables where retention is not null order by 1, 2`,
    );
    const runs: RetentionRun[] = [...restored];
    for (const { schema, name, retention } of rows) {
      let dropped: ChunkInfo[] = [];
      let error: string | undefined;
      try {
        dropped = await inBriefTransaction(client, async () => {
          const { rows: at } = await client.query<{ horizon: Date }>(
            `select $1::timestamptz - $2::text::interval as horizon`,
            [now, retention],
          );
          return at[0] ? dropOld(client, { schema, name }, at[0].horizon, 'retention') : [];
        });
      } catch (cause) {
        error = messageOf(cause);
      }
      await client.query(
        `update timescale.hypertables set last_run_at = clock_timestamp(), last_error = $3 where table_schema = $1 and table_name = $2`,
        [schema, name, error ?? null],
      );
      runs.push({ tableName: `${schema}.${name}`, dropped, ...(error !== undefined && { error }) });
    }
    return runs;
  });
}

export interface RetentionLog {
  info(message: string): void;
  warn(message: string): void;
}

/** Applies the retention regularly. Any number of processes can run one; they take turns. */
export class RetentionSchedule {
  readonly #background = new Background((signal) => this.#run(signal));

  constructor(
    private readonly pool: Pool,
    private readonly intervalMs: number,
    private readonly log: RetentionLog,
  ) {}

  start(): void {
    this.#background.start();
  }

  /** Finishes the current run. */
  stop(): Promise<void> {
    return this.#background.stop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        for (const { tableName, dropped, restored, error } of await applyRetention(this.pool)) {
          if (restored) this.log.info(`Made again for ${tableName}: ${restored.join(', ')}`);
          if (error !== undefined) this.log.warn(`Retention of ${tableName} failed: ${error}`);
          else if (dropped.length > 0)
            this.log.info(`Retention of ${tableName} dropped ${droppedText(dropped)}`);
        }
      } catch (error) {
        this.log.warn(`Retention failed, next try in ${this.intervalMs / 1_000} s: ${messageOf(error)}`);
      }
      await pause(this.intervalMs, signal);
    }
  }
}

const droppedText = (chunks: readonly ChunkInfo[]): string =>
  `${counted(chunks.length, 'chunk')} from ${chunks[0]?.rangeStart ?? ''} to ${chunks.at(-1)?.rangeEnd ?? ''} ` +
  `(${chunks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)} bytes); the log keeps their events`;
