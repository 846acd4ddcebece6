import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import type pg from 'pg';
import { contextOf, RunningContexts, QUERY_POOL } from '#lib/waylog';
import { readRows } from '#lib/platform';
import type { JsonAnswer } from './sql-answer.js';
import { Statistics } from '../operations/statistics.js';

const MAX_BYTES = 64 * 1024 * 1024;
const MAX_ENTRY_BYTES = 8 * 1024 * 1024;
/** The size of an entry without its text: its key, and the cache's own data. */
const ENTRY_BYTES = 500;

/** An answer is kept as the bytes that are sent: objects would use up to a hundred times as much, uncounted. */
interface Entry extends JsonAnswer {
  /** The state of the tables, determined before the answer was read from them. */
  readonly state: string;
}

/** What a projector writes, with rows, in one transaction; and what else changes rows without an event. */
const commonState = `
  (select value::text from projection.generation),
  (select max(h.number)::text from log.histories h),
  (select count(*) || ' ' || coalesce(sum(i.inhrelid::bigint), 0) from pg_inherits i
    where i.inhparent in (select to_regclass(t) from unnest($2::text[]) as t))`;

const streamStateSql = `
  select (select s.revision::text from projection.stream_revisions s where s.projector = $1 and s.stream_id = $3),
         (select p.revision::text from projection.parked_streams p where p.projector = $1 and p.stream_id = $3),
         ${commonState}`;

const allStateSql = `
  select (select string_agg(concat_ws(' ', c.projector, c.projection, c.position), ' ' order by c.projector, c.projection)
            from projection.checkpoints c where c.projector = any ($1::text[])),
         (select md5(string_agg(concat_ws(' ', p.projector, p.stream_id, p.revision), E'\\n' order by p.projector, p.stream_id))
            from projection.parked_streams p where p.projector = any ($1::text[])),
         ${commonState}`;

/**
 * Answers that are still what the tables say. Every lookup first asks the database, in one statement, for the state of
 * the tables, and uses an answer only if it was read in that very state: for one stream, the last revision that the
 * projector has folded or parked of it; for many, the projector's checkpoint; for both, the generation, which rebuilds
 * and repairs increase, and the chunks of the hypertables. The projector moves the first two in the transaction that
 * writes the rows, and none of them ever returns to an earlier state. So no answer is older than the moment at which
 * the state was read, and the state is always read before the rows. A log that goes back takes them back with it, and
 * its new state belongs to another history.
 */
@Injectable()
export class CachedAnswers {
  readonly #answers = new LRUCache<string, Entry>({
    maxSize: MAX_BYTES,
    maxEntrySize: MAX_ENTRY_BYTES,
  });

  /** Tables of which TimescaleDB can drop chunks, without any event. */
  readonly #hypertables: readonly string[];
  readonly #projectors: readonly string[];

  constructor(
    private readonly contexts: RunningContexts,
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
    @Inject(Statistics) private readonly statistics: Statistics,
  ) {
    this.#projectors = contexts.declared.map(({ name }) => name);
    this.#hypertables = contexts.declared
      .flatMap(({ projections }) => projections)
      .filter(({ table }) => table.timeColumn)
      .map(({ table }) => `${table.schema}.${table.name}`);
  }

  /** The cached answer of a key, or the result of `read`. Without a stream, any event ends the answer. */
  async get(
    key: string,
    streamId: string | undefined,
    read: () => Promise<JsonAnswer>,
  ): Promise<JsonAnswer & { readonly cacheHit: boolean }> {
    const state = await this.#stateOf(streamId);
    const known = this.#answers.get(key);
    if (known?.state === state) {
      this.statistics.observeCache(true);
      return { json: known.json, rowCount: known.rowCount, cacheHit: true };
    }
    this.statistics.observeCache(false);
    const { json, rowCount } = await read();
    this.#answers.set(key, { json, rowCount, state }, { size: json.length + state.length + ENTRY_BYTES });
    return { json, rowCount, cacheHit: false };
  }

  /** Counts an answer that cannot be cached although the caller asked for it. */
  pass(): void {
    this.statistics.observeCache(false);
  }

  async #stateOf(streamId: string | undefined): Promise<string> {
    const context = streamId === undefined ? undefined : contextOf(this.contexts.declared, streamId);
    const [row] = context
      ? await readRows(this.pool, 'gateway.stream-state', streamStateSql, [
          context.name,
          this.#hypertables,
          streamId,
        ])
      : await readRows(this.pool, 'gateway.state', allStateSql, [this.#projectors, this.#hypertables]);
    return JSON.stringify(row);
  }
}

/** The same for the same query and parameters; null and omitted are the same. A hash, so that its length is fixed. */
export function cacheKey(query: string, parameters: unknown): string {
  const text = JSON.stringify([query, parameters], (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(
          Object.entries(value)
            .filter(([, field]) => field !== null && field !== undefined)
            .sort(([a], [b]) => (a < b ? -1 : 1)),
        )
      : value,
  );
  return createHash('sha256').update(text).digest('base64');
}
