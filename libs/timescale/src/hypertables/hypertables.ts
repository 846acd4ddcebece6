import type { ClientBase, Pool } from 'pg';
import {
  badFields,
  conflict,
  invalidInput,
  messageOf,
  notFound,
  parseTimestamp,
  sqlStateOf,
  validate,
} from '#lib/platform';
import { capabilities, type Capabilities } from '../capabilities.js';
import { recordDropped, retainedSince } from './dropped-ranges.js';
import {
  HypertableChange,
  HypertableRequest,
  type ChunkInfo,
  type CompressionPolicy,
  type DroppedChunks,
  type HypertableInfo,
  type HypertableResponse,
  type RetentionPolicy,
  type TableModel,
} from './models.js';
import { inTransaction, withSession } from './session.js';

const DEFAULT_CHUNK_INTERVAL = '7 days';
const DEFAULT_COMPRESS_AFTER = '30 days';

/** Lists, makes and changes hypertables of the registered models, and drops their chunks. */
export class Hypertables {
  constructor(
    private readonly pool: Pool,
    /** The registered models: no other table is made a hypertable or changed. */
    private readonly models: readonly TableModel[],
  ) {}

  /** Every hypertable but the shadows of a rebuild or a verification. */
  async list(): Promise<HypertableInfo[]> {
    const [can, since] = await Promise.all([capabilities(this.pool), retainedSince(this.pool)]);
    const { rows } = await this.pool.query<InfoRow>(
      `${infoSql} order by h.hypertable_schema, h.hypertable_name`,
    );
    return rows.map((row) => infoOf(row, can, since));
  }

  /** Throws `hypertable.not-found`. */
  async get(tableName: string): Promise<HypertableInfo> {
    const { name } = this.#model(tableName);
    const found = (await this.list()).find((info) => info.tableName === this.#fullName(tableName));
    if (!found) throw noHypertable(this.#fullName(tableName), name);
    return found;
  }

  /** The chunks of a hypertable, oldest first. */
  async chunks(tableName: string): Promise<ChunkInfo[]> {
    const model = this.#model(tableName);
    await this.get(tableName);
    return chunksOf(this.pool, model);
  }

  /**
   * Makes a table of a registered model a hypertable. Throws `hypertable.unknown-model`, `hypertable.exists`,
   * `hypertable.key-without-time`, `hypertable.has-rows`, `input.invalid`. What the edition does not have, such as
   * compression, is left out, and the answer says so: `success` is false then, with the reason.
   */
  async create(request: HypertableRequest): Promise<HypertableResponse> {
    validate(HypertableRequest, request);
    const model = this.#model(request.tableName);
    const table = this.#fullName(request.tableName);
    await withSession(this.pool, 'waylog hypertables', (client) =>
      inTransaction(client, async () => {
        await refuseUnfit(client, model, request);
        await client
          .query(
            `select create_hypertable($1::text::regclass, by_range($2::name, $3::text::interval),
                                      create_default_indexes => false, migrate_data => $4)`,
            [
              table,
              request.timeColumn,
              request.chunkInterval ?? DEFAULT_CHUNK_INTERVAL,
              request.migrateData ?? false,
            ],
          )
          .catch(asBadInterval('chunkInterval'));
        await client.query(
          `insert into timescale.hypertables (table_schema, table_name, created_at) values ($1, $2, clock_timestamp())
           on conflict (table_schema, table_name) do update set created_at = excluded.created_at, retention = null, compress_after = null`,
          [model.schema, model.name],
        );
      }),
    );
    const changed = await this.change(request.tableName, {
      ...(request.retentionPeriod && { retentionPeriod: request.retentionPeriod }),
      ...(request.compressionEnabled && {
        compressionEnabled: true,
        compressAfter: request.compressAfter ?? DEFAULT_COMPRESS_AFTER,
      }),
    });
    const notes = [...changed.notes];
    if (model.timeColumn !== request.timeColumn) {
      notes.push(
        `The model of ${table} in the code is not a hypertable over ${request.timeColumn}: \`waylog rebuild\` puts a plain ` +
          `table in its place. Set timeColumn in its table definition to keep it.`,
      );
    }
    return { ...changed, hypertableCreated: true, notes };
  }

  /**
   * Changes the chunk interval, the retention or the compression of a hypertable, each on its own: what can be done is
   * done, and the answer says what could not (`success` false, `errorMessage`).
   */
  async change(tableName: string, change: HypertableChange): Promise<HypertableResponse> {
    validate(HypertableChange, change);
    const model = this.#model(tableName);
    await this.get(tableName);
    const can = await capabilities(this.pool);
    const table = this.#fullName(tableName);
    const problems: string[] = [];
    await withSession(this.pool, 'waylog hypertables', (client) =>
      inTransaction(client, async () => {
        await client.query(
          `insert into timescale.hypertables (table_schema, table_name) values ($1, $2) on conflict do nothing`,
          [model.schema, model.name],
        );
        if (change.chunkInterval) {
          await client
            .query(`select set_chunk_time_interval($1::text::regclass, $2::text::interval)`, [
              table,
              change.chunkInterval,
            ])
            .catch(asBadInterval('chunkInterval'));
        }
        if (change.retentionPeriod) await setRetention(client, can, model, change.retentionPeriod);
        if (change.compressionEnabled !== undefined && change.compressionEnabled !== null) {
          if (can.compression.available) await setCompression(client, can, model, change);
          else if (change.compressionEnabled)
            problems.push(`${table} is not compressed: ${can.compression.reason}.`);
        }
      }),
    );
    const info = await this.get(tableName);
    return {
      success: problems.length === 0,
      tableName: table,
      hypertableCreated: false,
      chunkInterval: info.chunkInterval,
      compressionPolicy: info.compression,
      retentionPolicy: info.retention,
      ...(problems.length > 0 && { errorMessage: problems.join(' ') }),
      notes: info.retention.enabled ? [logKeeps(table)] : [],
    };
  }

  /**
   * Drops the chunks whose end is `olderThan` (RFC 3339) or earlier. Without `confirm`, which is the full name of the
   * table, it throws `hypertable.unconfirmed`; with `dryRun` it only says which they are.
   */
  async dropChunks(
    tableName: string,
    options: { readonly olderThan: string; readonly dryRun?: boolean; readonly confirm?: string | undefined },
  ): Promise<DroppedChunks> {
    const olderThan = parseTimestamp(options.olderThan);
    if (olderThan === undefined)
      throw invalidInput([{ field: 'olderThan', message: 'must be an RFC 3339 time with a zone' }]);
    const model = this.#model(tableName);
    const table = this.#fullName(tableName);
    const dryRun = options.dryRun ?? false;
    const found = (await this.chunks(tableName)).filter(({ rangeEnd }) => rangeEnd <= olderThan);
    if (!dryRun && options.confirm !== table) {
      throw conflict(
        'hypertable.unconfirmed',
        `Dropping ${found.length} chunks of ${table} is not confirmed, so nothing was dropped. Look at them with a dry run, ` +
          `then confirm with the name of the table: ${table}.`,
        { tableName: table, chunks: found.length },
      );
    }
    const chunks = dryRun
      ? found
      : await withSession(this.pool, 'waylog hypertables', (client) =>
          inTransaction(client, () => dropOld(client, model, new Date(olderThan), 'operator')),
        );
    return {
      tableName: table,
      olderThan,
      dryRun,
      chunks,
      bytes: chunks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      notes: chunks.length > 0 ? [logKeeps(table)] : [],
    };
  }

  #model(tableName: string): TableModel {
    const found = this.models.filter(({ schema, name }) => [name, `${schema}.${name}`].includes(tableName));
    const [model] = found;
    if (model && found.length === 1) return model;
    throw notFound(
      'hypertable.unknown-model',
      `${tableName} is ${found.length > 1 ? 'more than one' : 'none'} of the registered models, and only those are operated on: ` +
        `${this.models.map(({ schema, name }) => `${schema}.${name}`).join(', ')}.`,
      { tableName },
    );
  }

  #fullName(tableName: string): string {
    const { schema, name } = this.#model(tableName);
    return `${schema}.${name}`;
  }
}

/** What to know wherever rows are dropped from a table that is a fold of the log. */
const logKeeps = (table: string): string =>
  `The log keeps every event of rows that are dropped. A rebuild of ${table} brings them back, until the next run of the ` +
  'retention; a comparison with the log finds them missing unless it is limited to the time since retainedSince.';

const noHypertable = (table: string, name: string) =>
  notFound(
    'hypertable.not-found',
    `${table} is no hypertable. Make it one first: waylog hypertables create ${name}.`,
    {
      tableName: table,
    },
  );

interface InfoRow {
  readonly table_name: string;
  readonly time_column: string;
  readonly chunk_interval: string;
  readonly compression_enabled: boolean;
  readonly chunks: string;
  readonly compressed: string;
  readonly bytes: string | null;
  readonly row_estimate: string | null;
  readonly created_at: Date | null;
  readonly last_chunk: Date | null;
  readonly retention: string | null;
  readonly retention_days: number | null;
  readonly compress_after: string | null;
  readonly last_run_at: Date | null;
  readonly last_error: string | null;
}

// A policy's own word counts before our settings: somebody may have changed it in the database.
const infoSql = `
  select h.hypertable_schema || '.' || h.hypertable_name as table_name, d.column_name as time_column,
         coalesce(d.time_interval::text, d.integer_interval::text) as chunk_interval,
         h.compression_enabled, h.num_chunks as chunks, made.compressed,
         hypertable_size(format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass)::text as bytes,
         approximate_row_count(format('%I.%I', h.hypertable_schema, h.hypertable_name)::regclass)::text as row_estimate,
         coalesce(s.created_at, made.first) as created_at, made.last as last_chunk,
         coalesce(retention.after, s.retention)::text as retention,
         (extract(epoch from coalesce(retention.after, s.retention)) / 86400)::float8 as retention_days,
         coalesce(compression.after, s.compress_after)::text as compress_after,
         coalesce(retention.last_run_at, s.last_run_at) as last_run_at,
         coalesce(retention.last_error, s.last_error) as last_error
    from timescaledb_information.hypertables h
    join timescaledb_information.dimensions d
      on (d.hypertable_schema, d.hypertable_name, d.dimension_number) = (h.hypertable_schema, h.hypertable_name, 1)
    left join timescale.hypertables s on (s.table_schema, s.table_name) = (h.hypertable_schema, h.hypertable_name)
    left join lateral (
      select min(c.chunk_creation_time) as first, max(c.chunk_creation_time) as last,
             count(*) filter (where c.is_compressed) as compressed
        from timescaledb_information.chunks c
       where (c.hypertable_schema, c.hypertable_name) = (h.hypertable_schema, h.hypertable_name)
    ) made on true
    left join lateral (
      select (j.config->>'drop_after')::interval as after, t.last_run_started_at as last_run_at,
             case when t.last_run_status = 'Failed' then 'job ' || j.job_id || ' failed: see timescaledb_information.job_errors' end as last_error
        from timescaledb_information.jobs j left join timescaledb_information.job_stats t using (job_id)
       where (j.hypertable_schema, j.hypertable_name, j.proc_name) = (h.hypertable_schema, h.hypertable_name, 'policy_retention')
       limit 1
    ) retention on true
    left join lateral (
      select (j.config->>'compress_after')::interval as after from timescaledb_information.jobs j
       where (j.hypertable_schema, j.hypertable_name) = (h.hypertable_schema, h.hypertable_name)
         and j.proc_name in ('policy_compression', 'policy_columnstore')
       limit 1
    ) compression on true
   where h.hypertable_schema !~ '^(rebuild|verify)_' and h.hypertable_schema not like '\\_timescaledb%'`;

function infoOf(row: InfoRow, can: Capabilities, since: ReadonlyMap<string, Date>): HypertableInfo {
  const compression: CompressionPolicy = {
    enabled: row.compression_enabled,
    available: can.compression.available,
    ...(!can.compression.available && { reason: can.compression.reason }),
    ...(row.compress_after && { compressAfter: row.compress_after }),
  };
  const retention: RetentionPolicy = {
    enabled: row.retention !== null,
    retentionPeriodDays: row.retention_days ?? 0,
    mechanism: can.retentionPolicies.available ? 'policy' : 'schedule',
    ...(row.retention && { retentionPeriod: row.retention }),
    ...(!can.retentionPolicies.available && { reason: can.retentionPolicies.reason }),
    ...(row.last_run_at && { lastRunAt: row.last_run_at.toISOString() }),
    ...(row.last_error && { lastError: row.last_error }),
  };
  const retained = since.get(row.table_name);
  return {
    tableName: row.table_name,
    timeColumn: row.time_column,
    chunkInterval: row.chunk_interval,
    compressionEnabled: row.compression_enabled,
    ...(row.retention && { retentionPeriod: row.retention }),
    ...(row.created_at && { createdAt: row.created_at.toISOString() }),
    ...(row.last_chunk && { lastChunkCreated: row.last_chunk.toISOString() }),
    chunkCount: Number(row.chunks),
    compressedChunks: Number(row.compressed),
    sizeBytes: Number(row.bytes ?? 0),
    rowEstimate: Math.max(0, Number(row.row_estimate ?? 0)),
    compression,
    retention,
    ...(retained && { retainedSince: retained.toISOString() }),
  };
}

/** The chunks of a hypertable, oldest first. */
export async function chunksOf(
  client: Pick<ClientBase, 'query'>,
  { schema, name }: Pick<TableModel, 'schema' | 'name'>,
): Promise<ChunkInfo[]> {
  const { rows } = await client.query<{
    chunk_name: string;
    range_start: Date;
    range_end: Date;
    is_compressed: boolean;
    bytes: string | null;
    created_at: Date | null;
  }>(
    `select c.chunk_schema || '.' || c.chunk_name as chunk_name, c.range_start, c.range_end, c.is_compressed,
            size.total_bytes::text as bytes, c.chunk_creation_time as created_at
       from timescaledb_information.chunks c
       left join chunks_detailed_size(format('%I.%I', $1::text, $2::text)::regclass) size using (chunk_schema, chunk_name)
      where c.hypertable_schema = $1 and c.hypertable_name = $2
      order by c.range_start`,
    [schema, name],
  );
  return rows.map((row) => ({
    chunkName: row.chunk_name,
    tableName: `${schema}.${name}`,
    rangeStart: row.range_start.toISOString(),
    rangeEnd: row.range_end.toISOString(),
    compressed: row.is_compressed,
    sizeBytes: Number(row.bytes ?? 0),
    ...(row.created_at && { createdAt: row.created_at.toISOString() }),
  }));
}

/**
 * Drops the chunks whose end is `olderThan` or earlier, and notes it, in the caller's transaction. Answers what they
 * were.
 */
export async function dropOld(
  client: ClientBase,
  model: Pick<TableModel, 'schema' | 'name'>,
  olderThan: Date,
  reason: 'operator' | 'retention',
): Promise<ChunkInfo[]> {
  const chunks = await chunksOf(client, model);
  const { rows } = await client.query<{ name: string }>(
    `select drop_chunks(format('%I.%I', $1::text, $2::text)::regclass, older_than => $3::timestamptz) as name`,
    [model.schema, model.name, olderThan],
  );
  const names = new Set(rows.map(({ name }) => name));
  const dropped = chunks.filter(({ chunkName }) => names.has(chunkName));
  if (dropped.length < names.size) {
    throw conflict(
      'hypertable.in-use',
      `A chunk was made while chunks of ${model.schema}.${model.name} were being dropped. Nothing has changed; try again.`,
    );
  }
  const ranges = dropped.map(({ rangeStart, rangeEnd }) => ({
    start: new Date(rangeStart),
    end: new Date(rangeEnd),
  }));
  await recordDropped(client, model, ranges, reason);
  return dropped;
}

const TIME_TYPES = ['timestamp with time zone', 'timestamp without time zone', 'date'];

/** Throws when the table cannot become a hypertable, with the reason. Locks it, so that what was found stays so. */
async function refuseUnfit(client: ClientBase, model: TableModel, request: HypertableRequest): Promise<void> {
  const table = `${model.schema}.${model.name}`;
  const { rows: known } = await client.query<{ found: boolean; hyper: boolean }>(
    `select to_regclass(format('%I.%I', $1::text, $2::text)) is not null as found,
            exists (select from timescaledb_information.hypertables where hypertable_schema = $1 and hypertable_name = $2) as hyper`,
    [model.schema, model.name],
  );
  if (!known[0]?.found) {
    throw notFound(
      'hypertable.table-missing',
      `The database has no table ${table}. Run the migrations first: waylog migrate.`,
    );
  }
  if (known[0].hyper) {
    throw conflict(
      'hypertable.exists',
      `${table} is a hypertable already. Change its chunk interval, retention or compression instead: waylog hypertables set ${model.name}.`,
    );
  }
  await client.query(`lock table ${table} in access exclusive mode`);
  const { rows: columns } = await client.query<{ type: string }>(
    `select format_type(atttypid, null) as type from pg_attribute
      where attrelid = $1::text::regclass and attname = $2 and attnum > 0 and not attisdropped`,
    [table, request.timeColumn],
  );
  if (!TIME_TYPES.includes(columns[0]?.type ?? '')) {
    throw invalidInput([
      {
        field: 'timeColumn',
        message: columns[0]
          ? `is ${request.timeColumn}, which is of type ${columns[0].type}; it must be a time`
          : `is ${request.timeColumn}, which ${table} does not have`,
      },
    ]);
  }
  const { rows: keys } = await client.query<{ name: string; columns: string }>(
    `select c.relname as name, string_agg(a.attname, ', ' order by a.attnum) as columns
       from pg_index i join pg_class c on c.oid = i.indexrelid
       join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey::smallint[])
      where i.indrelid = $1::text::regclass and i.indisunique
      group by c.relname having not bool_or(a.attname = $2)`,
    [table, request.timeColumn],
  );
  if (keys.length > 0) {
    throw conflict(
      'hypertable.key-without-time',
      `${table} cannot be a hypertable over ${request.timeColumn}: ` +
        keys
          .map(({ name, columns: of }) => `the unique key ${name} (${of}) lacks that column`)
          .join(', and ') +
        '. TimescaleDB checks uniqueness within a chunk only, so the time column must be in every unique key. ' +
        'Change the key in a migration first, and let the fold keep rows unique (docs/decisions/0003).',
      { tableName: table, keys: keys.map(({ name }) => name) },
    );
  }
  const { rows: any } = await client.query<{ any: boolean }>(`select exists (select from ${table}) as any`);
  if (any[0]?.any && !request.migrateData) {
    throw conflict(
      'hypertable.has-rows',
      `${table} has rows. Moving them into chunks takes as long as writing them once more, and nobody can read or write the ` +
        'table meanwhile. Ask for it with migrateData (--migrate-data).',
    );
  }
}

/** PostgreSQL's and TimescaleDB's refusals of an interval, as a bad field. */
const asBadInterval =
  (field: string) =>
  (error: unknown): never => {
    if (/^22/.test(sqlStateOf(error) ?? ''))
      throw invalidInput([{ field, message: `is refused: ${messageOf(error)}` }]);
    throw error;
  };

async function setRetention(
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

async function setCompression(
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
