import pg from 'pg';
import { conflict, sessionOptions } from '#lib/platform';
import type { EventStore, Position, RecordedEvent } from '#lib/event-store';
import { Contiguity } from './contiguity.js';
import { foldBatch } from './fold-batch.js';
import type { Projection, TableDefinition } from './projection.js';
import { hashTable, type TableHash } from './table-hash.js';
import { TableWriter } from './table-writer.js';

export interface RebuildOptions {
  readonly projection: Projection;
  readonly store: EventStore;
  readonly connectionString: string;
  /** `replace` puts the rebuilt table in the live one's place; `compare` only says whether they are the same. */
  readonly mode?: 'replace' | 'compare';
  readonly batchSize?: number;
  /** Told after each batch how many events have been folded. */
  readonly onProgress?: (events: number) => void;
  readonly signal?: AbortSignal;
}

export interface RebuildResult {
  readonly projection: string;
  readonly events: number;
  readonly position: Position;
  readonly live: TableHash;
  readonly rebuilt: TableHash;
  readonly identical: boolean;
}

/**
 * Folds the whole log into a shadow of a projection's table, beside the live one, which goes on being read and
 * written. At the end the projector is held for a moment at its checkpoint, the shadow is brought to exactly that
 * position, compared by hash, and takes the live table's place in the same transaction.
 */
export async function rebuild(options: RebuildOptions): Promise<RebuildResult> {
  const { projection, connectionString } = options;
  const client = new pg.Client({ connectionString, application_name: 'waylog rebuild', options: sessionOptions });
  client.on('error', () => undefined);
  await client.connect();
  try {
    const lock = `waylog rebuild ${projection.name}`;
    const { rows } = await client.query<{ free: boolean }>(`select pg_try_advisory_lock(hashtextextended($1, 0)) as free`, [lock]);
    if (!rows[0]?.free) {
      throw conflict('projection.rebuild-running', `Another process is rebuilding or verifying ${projection.name} now.`);
    }
    return await rebuildWith(client, options);
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function rebuildWith(client: pg.Client, options: RebuildOptions): Promise<RebuildResult> {
  const { projection, store, mode = 'replace', batchSize = 5_000, onProgress, signal } = options;
  const { table } = projection;
  const live = `${table.schema}.${table.name}`;
  const shadowSchema = `rebuild_${table.schema}`;
  const shadow = `${shadowSchema}.${table.name}`;
  await createShadow(client, table, shadowSchema);

  const writer = new TableWriter(table, shadowSchema);
  const contiguity = new Contiguity(`rebuild of ${projection.name}`);
  let position = store.beginning;
  let events = 0;
  const foldUpTo = async (end: Position) => {
    while (store.compare(position, end) < 0) {
      signal?.throwIfAborted();
      const page = await store.readAll({ after: position, limit: batchSize });
      const batch = page.filter((event) => store.compare(event.position, end) <= 0);
      if (batch.length === 0) return;
      contiguity.advance(batch);
      for (const [, net] of foldBatch([projection], batch)) await writer.write(client, net);
      position = (batch.at(-1) as RecordedEvent).position;
      events += batch.length;
      onProgress?.(events);
    }
  };

  // As far as the projector has come, while it goes on; the little that it adds meanwhile is folded below.
  await foldUpTo(await checkpointOf(client, projection));
  await foldUpTo(await checkpointOf(client, projection));

  await client.query('begin');
  try {
    await foldUpTo(await checkpointOf(client, projection, 'for update'));
    const result = {
      projection: projection.name,
      events,
      position,
      live: await hashTable(client, live),
      rebuilt: await hashTable(client, shadow),
    };
    if (mode === 'replace') {
      await client.query(`drop table ${live}`);
      await client.query(`alter table ${shadow} set schema ${table.schema}`);
      await client.query(`update projection.checkpoints set version = $2 where projection = $1`, [
        projection.name,
        projection.version,
      ]);
    } else {
      await client.query(`drop table ${shadow}`);
    }
    await client.query('commit');
    return { ...result, identical: result.live.hash === result.rebuilt.hash };
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}

async function checkpointOf(client: pg.Client, projection: Projection, lock = ''): Promise<Position> {
  const { rows } = await client.query<{ position: string }>(
    `select position from projection.checkpoints where projection = $1 ${lock}`,
    [projection.name],
  );
  if (!rows[0]) {
    throw conflict(
      'projection.never-ran',
      `Projection ${projection.name} has no checkpoint: no projector has run on this database yet. Start the server once.`,
    );
  }
  return rows[0].position;
}

/** An empty copy with the same columns, keys, indexes, checks, settings and chunk interval. */
async function createShadow(client: pg.Client, table: TableDefinition, schema: string): Promise<void> {
  const live = `${table.schema}.${table.name}`;
  const shadow = `${schema}.${table.name}`;
  await client.query(`create schema if not exists ${schema}`);
  await client.query(`drop table if exists ${shadow}`);
  await client.query(`create table ${shadow} (like ${live} including all)`);
  const { rows } = await client.query<{ options: string | null }>(
    `select array_to_string(reloptions, ', ') as options from pg_class where oid = $1::regclass`,
    [live],
  );
  if (rows[0]?.options) await client.query(`alter table ${shadow} set (${rows[0].options})`);
  if (!table.timeColumn) return;
  await client.query(
    `select create_hypertable($1::regclass, by_range($2::name, d.time_interval), create_default_indexes => false)
       from timescaledb_information.dimensions d
      where d.hypertable_schema = $3 and d.hypertable_name = $4 and d.column_name = $2`,
    [shadow, table.timeColumn, table.schema, table.name],
  );
}
