import pg, { type ClientBase } from 'pg';
import { badFields, invalidInput } from '#lib/platform';
import type { Capabilities } from '../capabilities.js';
import { notePolicyDrops } from './dropped-ranges.js';
import { HypertableChange, type TableModel } from './models.js';

const { escapeLiteral } = pg;

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
  // While the policy exists, rows that it dropped can be told from lost ones.
  await notePolicyDrops(client);
  await client.query(
    `select remove_retention_policy(format('%I.%I', $1::text, $2::text)::regclass, if_exists => true)`,
    [model.schema, model.name],
  );
  if (none) return;
  await addRetentionPolicy(client, model, period);
  // From here on, what the policy can drop at any moment is recorded.
  await notePolicyDrops(client);
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

async function enableCompression(
  client: ClientBase,
  can: Capabilities,
  table: string,
  after: string,
): Promise<void> {
  await compressByKey(client, table);
  // Without workers nothing would run the policy: chunks are then compressed only by hand, and compressAfter records
  // the setting.
  if (can.scheduler.available) {
    await client.query(
      `select add_compression_policy($1::text::regclass, compress_after => $2::text::interval, if_not_exists => true)`,
      [table, after],
    );
  }
}

/** Segments by the first column of the key, such as the flight; within it rows are in the order of time. */
async function compressByKey(client: ClientBase, table: string): Promise<void> {
  const { rows } = await client.query<{ name: string; is_time: boolean }>(
    `select a.attname as name, a.attname = d.column_name as is_time
       from pg_class r
       join pg_namespace s on s.oid = r.relnamespace
       join timescaledb_information.dimensions d
         on (d.hypertable_schema, d.hypertable_name, d.dimension_number) = (s.nspname, r.relname, 1)
       join pg_index i on i.indrelid = r.oid and i.indisprimary
       join unnest(i.indkey::smallint[]) with ordinality k (attnum, n) on true
       join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
      where r.oid = $1::text::regclass
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
}

/** What was created again, in words. */
export interface RestoredPolicies {
  readonly tableName: string;
  readonly restored: readonly string[];
}

/**
 * Creates what the settings require and the table lacks: a policy was removed outside Waylog, or the backup was of
 * another edition. Harmless if nothing is missing. Returns the tables that lacked something.
 */
export async function restorePolicies(client: ClientBase, can: Capabilities): Promise<RestoredPolicies[]> {
  const { rows } = await client.query<{
    schema: string;
    name: string;
    retention: string | null;
    compress_after: string | null;
    retained: boolean;
    compressing: boolean;
  }>(
    `select s.table_schema as schema, s.table_name as name, s.retention::text, s.compress_after::text,
            coalesce(bool_or(j.proc_name = 'policy_retention'), false) as retained,
            h.compression_enabled and ($1 or coalesce(bool_or(j.proc_name in ('policy_compression', 'policy_columnstore')), false)) as compressing
       from timescale.hypertables s
       join timescaledb_information.hypertables h on (h.hypertable_schema, h.hypertable_name) = (s.table_schema, s.table_name)
       left join timescaledb_information.jobs j on (j.hypertable_schema, j.hypertable_name) = (s.table_schema, s.table_name)
      group by s.table_schema, s.table_name, h.compression_enabled
      order by 1, 2`,
    [!can.scheduler.available],
  );
  const found: RestoredPolicies[] = [];
  for (const { schema, name, retention, compress_after, retained, compressing } of rows) {
    const restored: string[] = [];
    if (retention && can.retentionPolicies.available && !retained) {
      await addRetentionPolicy(client, { schema, name }, retention);
      restored.push(`retention of ${retention}`);
    }
    if (compress_after && can.compression.available && !compressing) {
      await enableCompression(client, can, `${schema}.${name}`, compress_after);
      restored.push(`compression after ${compress_after}`);
    }
    if (restored.length > 0) found.push({ tableName: `${schema}.${name}`, restored });
  }
  return found;
}

/** The data that TimescaleDB keeps for a hypertable beside the table itself, and drops with it. */
export interface HypertableSettings {
  readonly compression: CompressionRow | undefined;
  readonly policies: readonly PolicyRow[];
}

interface CompressionRow {
  readonly segmentby: string;
  readonly orderby: string;
  /** The names of the columns in both. */
  readonly columns: readonly string[] | null;
}

interface PolicyRow {
  readonly kind: 'retention' | 'compression';
  readonly after: string | null;
  readonly created_before: string | null;
  readonly schedule_interval: string;
  readonly max_runtime: string;
  readonly max_retries: number;
  readonly retry_period: string;
  readonly scheduled: boolean;
  readonly next_start: string | null;
}

/** The compression and the policies of a hypertable, whatever created them; for code that replaces the table. */
export async function hypertableSettings(client: ClientBase, table: string): Promise<HypertableSettings> {
  // TimescaleDB's views of this name every hypertable, also those in schemas that the projector may not use, and fail.
  const { rows: compressed } = await client.query<CompressionRow>(
    `select array_to_string(array(select quote_ident(name) from unnest(s.segmentby) name), ', ') as segmentby,
            array_to_string(array(
              select format('%I %s nulls %s', name, case when falls then 'desc' else 'asc' end, case when nulls then 'first' else 'last' end)
                from unnest(s.orderby, s.orderby_desc, s.orderby_nullsfirst) o (name, falls, nulls)), ', ') as orderby,
            array_cat(s.segmentby, s.orderby) as columns
       from timescaledb_information.hypertables h, _timescaledb_catalog.compression_settings s
      where h.hypertable_schema || '.' || h.hypertable_name = $1 and h.compression_enabled
        and s.relid = $1::text::regclass`,
    [table],
  );
  const { rows: policies } = await client.query<PolicyRow>(
    `select case j.proc_name when 'policy_retention' then 'retention' else 'compression' end as kind,
            coalesce(j.config->>'drop_after', j.config->>'compress_after') as after,
            coalesce(j.config->>'drop_created_before', j.config->>'compress_created_before') as created_before,
            j.schedule_interval::text, j.max_runtime::text, j.max_retries, j.retry_period::text, j.scheduled,
            nullif(j.next_start, '-infinity')::text as next_start
       from timescaledb_information.jobs j
      where j.hypertable_schema || '.' || j.hypertable_name = $1
        and j.proc_name in ('policy_retention', 'policy_compression', 'policy_columnstore')`,
    [table],
  );
  return { compression: compressed[0], policies };
}

/** To a table that has taken the place of theirs, perhaps with other columns. */
export async function applySettings(
  client: ClientBase,
  table: string,
  { compression, policies }: HypertableSettings,
): Promise<void> {
  if (compression) await compressAs(client, table, compression);
  for (const policy of policies) {
    const add =
      policy.kind === 'retention'
        ? `add_retention_policy($1::text::regclass, drop_after => $2::text::interval, drop_created_before => $3::text::interval)`
        : `add_compression_policy($1::text::regclass, compress_after => $2::text::interval, compress_created_before => $3::text::interval)`;
    const { rows } = await client.query<{ id: number }>(`select ${add} as id`, [
      table,
      policy.after,
      policy.created_before,
    ]);
    await client.query(
      `select alter_job($1, schedule_interval => $2::text::interval, max_runtime => $3::text::interval, max_retries => $4,
                        retry_period => $5::text::interval, scheduled => $6, next_start => $7::text::timestamptz)`,
      [
        rows[0]?.id,
        policy.schedule_interval,
        policy.max_runtime,
        policy.max_retries,
        policy.retry_period,
        policy.scheduled,
        policy.next_start,
      ],
    );
  }
}

/** As before, or by the key of the table if it lacks a column of those settings. */
async function compressAs(
  client: ClientBase,
  table: string,
  { segmentby, orderby, columns }: CompressionRow,
): Promise<void> {
  const { rows: missing } = await client.query(
    `select from unnest($2::text[]) name
      where not exists (select from pg_attribute a where a.attrelid = $1::text::regclass and a.attname = name)`,
    [table, columns],
  );
  if (missing.length > 0) return compressByKey(client, table);
  await client.query(
    `alter table ${table} set (timescaledb.compress, timescaledb.compress_segmentby = ${escapeLiteral(segmentby)},
                               timescaledb.compress_orderby = ${escapeLiteral(orderby)})`,
  );
}
