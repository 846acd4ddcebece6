import type { ClientBase, Pool } from 'pg';
import {
  conflict,
  invalidInput,
  messageOf,
  notFound,
  parseTimestamp,
  sqlStateOf,
  validate,
  counted,
} from '#lib/platform';
import { capabilities } from '../capabilities.js';
import { jobTroubles } from '../jobs/job-troubles.js';
import { queryOn } from '../schema/catalog.js';
import { recordDropped, retainedSince } from './dropped-ranges.js';
import {
  HypertableChange,
  HypertableRequest,
  type ChunkInfo,
  type DroppedChunks,
  type HypertableInfo,
  type HypertableResponse,
  type TableModel,
} from './models.js';
import { chunksOf, infoOf, infoSql, type InfoRow } from './hypertable-info.js';
import { DEFAULT_COMPRESS_AFTER, setCompression, setRetention } from './policies.js';
import { inBriefTransaction, withSession } from './session.js';

const DEFAULT_CHUNK_INTERVAL = '7 days';

/** Lists, creates and changes hypertables of the registered models, and drops their chunks. */
export class Hypertables {
  constructor(
    private readonly pool: Pool,
    /** The registered models: no other table is made a hypertable or changed. */
    private readonly models: readonly TableModel[],
  ) {}

  /** Every hypertable except the shadow tables of a rebuild or a verification. */
  async list(): Promise<HypertableInfo[]> {
    const [can, since, troubles] = await Promise.all([
      capabilities(this.pool),
      retainedSince(this.pool),
      jobTroubles(queryOn(this.pool)),
    ]);
    const { rows } = await this.pool.query<InfoRow>(
      `${infoSql} order by h.hypertable_schema, h.hypertable_name`,
    );
    return rows.map((row) => infoOf(row, can, since, troubles));
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
   * `hypertable.key-without-time`, `hypertable.has-rows`, `input.invalid`. What the edition lacks, such as compression,
   * is left out: `success` is then false, with the reason.
   */
  async create(request: HypertableRequest): Promise<HypertableResponse> {
    validate(HypertableRequest, request);
    const model = this.#model(request.tableName);
    const table = this.#fullName(request.tableName);
    await withSession(this.pool, 'waylog hypertables', (client) =>
      inBriefTransaction(client, async () => {
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
   * Changes the chunk interval, the retention or the compression of a hypertable, each on its own. What is possible is
   * done, and the answer says what was not (`success` false, `errorMessage`).
   */
  async change(tableName: string, change: HypertableChange): Promise<HypertableResponse> {
    validate(HypertableChange, change);
    const model = this.#model(tableName);
    await this.get(tableName);
    const can = await capabilities(this.pool);
    const table = this.#fullName(tableName);
    const problems: string[] = [];
    await withSession(this.pool, 'waylog hypertables', (client) =>
      inBriefTransaction(client, async () => {
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
        // A caller that gives the age wants compression.
        const compressionEnabled = change.compressionEnabled ?? (change.compressAfter ? true : undefined);
        if (compressionEnabled !== undefined) {
          if (can.compression.available)
            await setCompression(client, can, model, { ...change, compressionEnabled });
          else if (compressionEnabled)
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
   * table, it throws `hypertable.unconfirmed`; with `dryRun` it only lists them.
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
        `Dropping ${counted(found.length, 'chunk')} of ${table} is not confirmed, so nothing was dropped. Look at them with a dry run, ` +
          `then confirm with the name of the table: ${table}.`,
        { tableName: table, chunks: found.length },
      );
    }
    const chunks = dryRun
      ? found
      : await withSession(this.pool, 'waylog hypertables', (client) =>
          inBriefTransaction(client, () => dropOld(client, model, new Date(olderThan), 'operator')),
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

/** Needed wherever rows are dropped from a table that is a fold of the log. */
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

/** Drops the chunks whose end is `olderThan` or earlier, and records it, in the caller's transaction. Returns them. */
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

/** Throws if the table cannot become a hypertable, with the reason. Locks it, so that the answer stays true. */
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
