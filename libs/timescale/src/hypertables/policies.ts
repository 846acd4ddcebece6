import type { ClientBase } from 'pg';
import { badFields, invalidInput } from '#lib/platform';
import type { Capabilities } from '../capabilities.js';
import { HypertableChange, type TableModel } from './models.js';

export const DEFAULT_COMPRESS_AFTER = '30 days';

export async function setRetention(
  client: ClientBase,
  can: Capabilities,
  model: TableModel,
  period: string,
): Promise<void> {
  const none = period === 'none';
  if (!none && badFields(HypertableChange, { compressAfter: period }).length > 0) {
    throw invalidInput([
      { field: 'retentionPeriod', message: 'must be a length of time such as 90 days, or none' },
    ]);
  }
  await client.query(
    `update timescale.hypertables set retention = $3::text::interval, last_error = null where table_schema = $1 and table_name = $2`,
    [model.schema, model.name, none ? null : period],
  );
  if (!can.retentionPolicies.available) return;
  await client.query(
    `select remove_retention_policy(format('%I.%I', $1::text, $2::text)::regclass, if_exists => true)`,
    [model.schema, model.name],
  );
  if (!none) await addRetentionPolicy(client, model, period);
}

const addRetentionPolicy = (
  client: ClientBase,
  { schema, name }: Pick<TableModel, 'schema' | 'name'>,
  period: string,
) =>
  client.query(
    `select add_retention_policy(format('%I.%I', $1::text, $2::text)::regclass, drop_after => $3::text::interval, if_not_exists => true)`,
    [schema, name, period],
  );

export async function setCompression(
  client: ClientBase,
  can: Capabilities,
  model: TableModel,
  { compressionEnabled, compressAfter }: HypertableChange,
): Promise<void> {
  const table = `${model.schema}.${model.name}`;
  await client.query(`select remove_compression_policy($1::text::regclass, if_exists => true)`, [table]);
  const after = compressionEnabled ? (compressAfter ?? DEFAULT_COMPRESS_AFTER) : null;
  await client.query(
    `update timescale.hypertables set compress_after = $3::text::interval where table_schema = $1 and table_name = $2`,
    [model.schema, model.name, after],
  );
  if (after === null) {
    await client.query(
      `select decompress_chunk(c, if_compressed => true) from show_chunks($1::text::regclass) c`,
      [table],
    );
    await client.query(`alter table ${table} set (timescaledb.compress = false)`);
  } else {
    await enableCompression(client, can, table, after);
  }
}

/** Segments by the first column of the key, such as the flight; within it rows are in the order of time. */
async function enableCompression(
  client: ClientBase,
  can: Capabilities,
  table: string,
  after: string,
): Promise<void> {
  const { rows } = await client.query<{ name: string; is_time: boolean }>(
    `select a.attname as name, a.attname = d.column_name as is_time
       from timescaledb_information.dimensions d
       join pg_index i on i.indrelid = $1::text::regclass and i.indisprimary
       join unnest(i.indkey::smallint[]) with ordinality k (attnum, n) on true
       join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
      where format('%I.%I', d.hypertable_schema, d.hypertable_name)::regclass = i.indrelid and d.dimension_number = 1
      order by k.n`,
    [table],
  );
  const keys = rows.filter(({ is_time }) => !is_time).map(({ name }) => name);
  const time = rows.filter(({ is_time }) => is_time).map(({ name }) => name);
  const quoted = (columns: string[]) => columns.map((column) => `"${column}"`).join(', ');
  await client.query(
    `alter table ${table} set (timescaledb.compress, timescaledb.compress_segmentby = '${quoted(keys.slice(0, 1))}',
                               timescaledb.compress_orderby = '${quoted([...time, ...keys.slice(1)])}')`,
  );
  // Without workers nothing would run it: chunks are then compressed by hand only, and compressAfter says what is wanted.
  if (can.scheduler.available) {
    await client.query(
      `select add_compression_policy($1::text::regclass, compress_after => $2::text::interval, if_not_exists => true)`,
      [table, after],
    );
  }
}

/**
 * Makes policies again that the settings ask for and the table lacks: a rebuild puts a new table in the old one's
 * place, and TimescaleDB's policies go with the old one. Harmless when nothing is missing.
 */
export async function restorePolicies(client: ClientBase, can: Capabilities): Promise<void> {
  const { rows } = await client.query<{
    schema: string;
    name: string;
    retention: string | null;
    compress_after: string | null;
    compressed: boolean;
  }>(
    `select s.table_schema as schema, s.table_name as name, s.retention::text, s.compress_after::text, h.compression_enabled as compressed
       from timescale.hypertables s
       join timescaledb_information.hypertables h on (h.hypertable_schema, h.hypertable_name) = (s.table_schema, s.table_name)`,
  );
  for (const { schema, name, retention, compress_after, compressed } of rows) {
    if (retention && can.retentionPolicies.available)
      await addRetentionPolicy(client, { schema, name }, retention);
    if (compress_after && can.compression.available && !compressed)
      await enableCompression(client, can, `${schema}.${name}`, compress_after);
  }
}
