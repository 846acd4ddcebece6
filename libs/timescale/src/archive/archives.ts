import { randomUUID } from 'node:crypto';
import { join, resolve } from 'node:path';
import type { Client, ClientBase, Pool } from 'pg';
import { conflict, messageOf, notFound } from '#lib/platform';
import { recordDropped } from '../hypertables/dropped-ranges.js';
import { chunksOf } from '../hypertables/hypertables.js';
import type { TableModel } from '../hypertables/models.js';
import { inTransaction, withSession } from '../hypertables/session.js';
import { readManifest, readRows, sha256Of, writeManifest, writeRows, type Manifest } from './chunk-file.js';
import type {
  ArchivalConfirmation,
  ArchivalEvent,
  ArchivalStatus,
  ArchivedChunk,
  RestoredArchive,
} from './models.js';

/** Held while chunks are archived or restored: one process at a time. */
const ARCHIVE_LOCK = 7239100407;
/** A chunk that changes while it is written is written again, so often. */
const ATTEMPTS = 3;

/** The steps of each chunk, in this order; `changed` goes back to the first. */
export type ArchiveStep = 'copied' | 'verified' | 'written' | 'changed' | 'dropped' | 'restored';

export interface ArchiveProgress {
  readonly tableName: string;
  readonly chunkName: string;
  readonly step: ArchiveStep;
  /** Steps done, of all that are to do for the table at hand. */
  readonly done: number;
  readonly total: number;
}

export interface ArchiveRunOptions {
  /** Chunks whose end is this or earlier. */
  readonly olderThan: Date;
  /** Where the files go. */
  readonly directory: string;
  /** Full or short names; all hypertables of the registered models when it is left out. */
  readonly tables?: readonly string[];
  readonly onProgress?: (progress: ArchiveProgress) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/**
 * Writes old chunks into files and drops them: copied, read back and compared, described by a manifest, and only then
 * dropped, when the rows are still the same. Each step can be done again, so a kill between any two of them loses nothing,
 * and the next run goes on with what was left.
 */
export class Archives {
  constructor(
    private readonly pool: Pool,
    private readonly models: readonly TableModel[],
    /** Told, in the transaction that puts rows back, that they are there: no event says so. */
    private readonly onRestored: (client: ClientBase) => Promise<unknown> = () => Promise.resolve(),
  ) {}

  /** What has been archived, or begun; the newest first. */
  list(): Promise<ArchivalEvent[]> {
    return eventsOf(this.pool, 'true', []);
  }

  /** Throws `archive.not-found`. */
  async get(eventId: string): Promise<ArchivalEvent> {
    const [event] = await eventsOf(this.pool, 'e.event_id::text = $1', [eventId]);
    if (event) return event;
    throw notFound(
      'archive.not-found',
      `There is no archive ${eventId}. \`waylog archive list\` shows them.`,
      {
        eventId,
      },
    );
  }

  /**
   * First goes on with what an earlier run has left, then archives what is old enough: one event a table. A table that
   * fails is answered as `failed`, and others go on. Throws `archive.running` while another process is at it.
   */
  async run(options: ArchiveRunOptions): Promise<ArchivalConfirmation[]> {
    const { olderThan, signal } = options;
    const directory = resolve(options.directory);
    const models = this.models.filter(
      ({ schema, name }) => options.tables?.some((t) => t === name || t === `${schema}.${name}`) ?? true,
    );
    if (options.tables && models.length < options.tables.length) {
      throw notFound(
        'hypertable.unknown-model',
        `Of ${options.tables.join(', ')}, not all are registered models. Those are ${this.models.map(fullName).join(', ')}.`,
      );
    }
    return locked(this.pool, async (client) => {
      const unfinished = await eventsOf(
        client,
        `e.status <> 'completed' and e.table_schema || '.' || e.table_name = any ($1)`,
        [models.map(fullName)],
      );
      const confirmations: ArchivalConfirmation[] = [];
      for (const { eventId } of unfinished.reverse()) {
        signal?.throwIfAborted();
        confirmations.push(await this.#finish(client, eventId, options));
      }
      for (const model of models) {
        signal?.throwIfAborted();
        const chunks = (await chunksOf(client, model)).filter(
          ({ rangeEnd }) => new Date(rangeEnd).getTime() <= olderThan.getTime(),
        );
        if (chunks.length === 0) continue;
        const eventId = randomUUID();
        await client.query(
          `with event as (
             insert into timescale.archival_events (event_id, table_schema, table_name, older_than, status, lakehouse_path)
             values ($1, $2, $3, $4, 'pending', $5)
             returning event_id
           )
           insert into timescale.archived_chunks (event_id, range_start, range_end, chunk_name, state)
           select event.event_id, c.range_start, c.range_end, c.chunk_name, 'pending'
             from event, unnest($6::timestamptz[], $7::timestamptz[], $8::text[]) as c (range_start, range_end, chunk_name)`,
          [
            eventId,
            model.schema,
            model.name,
            olderThan,
            directory,
            chunks.map(({ rangeStart }) => rangeStart),
            chunks.map(({ rangeEnd }) => rangeEnd),
            chunks.map(({ chunkName }) => chunkName),
          ],
        );
        confirmations.push(await this.#finish(client, eventId, options));
      }
      return confirmations;
    });
  }

  /**
   * Brings the rows of an archive back into its table. A second time changes nothing: rows that are there already stay as
   * they are. Throws `archive.not-found`, `archive.not-completed`, `archive.file-missing`, `archive.tampered`; chunks
   * before the bad one are restored then, and the bad one not at all.
   */
  async restore(
    eventId: string,
    options: {
      readonly directory?: string | undefined;
      readonly onProgress?: ArchiveRunOptions['onProgress'];
    } = {},
  ): Promise<RestoredArchive> {
    const event = await this.get(eventId);
    const model = this.#modelOf(event.tableName);
    const chunks = event.chunks.filter(({ state }) => state === 'dropped' || state === 'restored');
    if (chunks.length === 0) {
      throw conflict(
        'archive.not-completed',
        `Archive ${eventId} is ${event.status} and none of its chunks has left ${event.tableName}: there is nothing to restore.`,
      );
    }
    const directory = resolve(options.directory ?? event.lakehousePath);
    const sums = { restored: 0, present: 0, outdated: 0 };
    await locked(this.pool, async (client) => {
      for (const [n, chunk] of chunks.entries()) {
        const file = join(directory, chunk.file ?? '');
        const counts = await restoreChunk(client, model, event, chunk, file, this.onRestored);
        for (const key of ['restored', 'present', 'outdated'] as const) sums[key] += counts[key];
        await options.onProgress?.({
          tableName: event.tableName,
          chunkName: chunk.chunkName,
          step: 'restored',
          done: n + 1,
          total: chunks.length,
        });
      }
    });
    const { rows: kept } = await this.pool.query(
      `select retention from timescale.hypertables
        where table_schema = $1 and table_name = $2 and now() - retention > $3::timestamptz`,
      [model.schema, model.name, chunks[0]?.rangeEnd],
    );
    const notes =
      kept.length > 0
        ? [
            `The retention of ${event.tableName} drops these chunks again at its next run. Take it off to keep them.`,
          ]
        : [];
    if (sums.outdated > 0) {
      notes.push(
        `${sums.outdated} rows were left out, because what they belong to has been deleted or moved since they were archived.`,
      );
    }
    return { eventId, tableName: event.tableName, chunks: chunks.length, ...sums, notes };
  }

  #modelOf(tableName: string): TableModel {
    const model = this.models.find((candidate) => fullName(candidate) === tableName);
    if (model) return model;
    throw notFound('hypertable.unknown-model', `${tableName} is none of the registered models.`, {
      tableName,
    });
  }

  /** Does what is left to do of an event. */
  async #finish(client: Client, eventId: string, options: ArchiveRunOptions): Promise<ArchivalConfirmation> {
    let errorMessage: string | undefined;
    const { tableName, lakehousePath, chunks } = await this.get(eventId);
    try {
      const model = this.#modelOf(tableName);
      const left = chunks.filter(({ state }) => state === 'pending' || state === 'written');
      let done = 0;
      for (const chunk of left) {
        options.signal?.throwIfAborted();
        const report = async (step: ArchiveStep) => {
          if (step !== 'changed') done++;
          const total = left.length * STEPS_OF_A_CHUNK;
          await options.onProgress?.({
            tableName,
            chunkName: chunk.chunkName,
            step,
            done: Math.min(done, total),
            total,
          });
          options.signal?.throwIfAborted();
        };
        await archiveChunk(this.pool, client, model, eventId, lakehousePath, chunk, report);
      }
      await setStatus(client, eventId, 'completed');
    } catch (error) {
      options.signal?.throwIfAborted();
      errorMessage = messageOf(error);
      await setStatus(client, eventId, 'failed', errorMessage);
    }
    const event = await this.get(eventId);
    const dropped = event.chunks.filter(({ state }) => state === 'dropped' || state === 'restored');
    return {
      eventId,
      tableName,
      status: event.status,
      completedAt: event.completedAt ?? new Date().toISOString(),
      lakehousePath,
      ...(errorMessage !== undefined && { errorMessage }),
      chunks: dropped.length,
      rows: dropped.reduce((sum, { rows = 0 }) => sum + rows, 0),
      bytes: dropped.reduce((sum, { bytes = 0 }) => sum + bytes, 0),
    };
  }
}

/** Copied, verified, written, dropped. */
const STEPS_OF_A_CHUNK = 4;

const fullName = ({ schema, name }: TableModel): string => `${schema}.${name}`;

async function locked<T>(pool: Pool, work: (client: Client) => Promise<T>): Promise<T> {
  return withSession(pool, 'waylog archive', async (client) => {
    const { rows } = await client.query<{ free: boolean }>(`select pg_try_advisory_lock($1) as free`, [
      ARCHIVE_LOCK,
    ]);
    if (!rows[0]?.free) {
      throw conflict(
        'archive.running',
        'Another process is archiving or restoring on this database now. Wait for it; `waylog archive list` shows how far it is.',
      );
    }
    return work(client);
  });
}

const setStatus = (client: Client, eventId: string, status: ArchivalStatus, errorMessage?: string) =>
  client.query(
    `update timescale.archival_events
        set status = $2, error_message = $3, completed_at = case when $2 in ('completed', 'failed') then clock_timestamp() end
      where event_id = $1`,
    [eventId, status, errorMessage ?? null],
  );

/** The rows of a table in a range, and how to know them again. */
interface Source {
  readonly table: string;
  readonly timeColumn: string;
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  /** The primary key, or every column where there is none. */
  readonly key: readonly string[];
}

async function sourceOf(client: Client, model: TableModel): Promise<Source> {
  const table = `"${model.schema}"."${model.name}"`;
  const { rows } = await client.query<{
    name: string;
    type: string;
    in_key: boolean;
    time_column: string | null;
  }>(
    `select a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
            coalesce(a.attnum = any (i.indkey::smallint[]), false) as in_key,
            (select d.column_name from timescaledb_information.dimensions d
              where d.hypertable_schema = $2 and d.hypertable_name = $3 and d.dimension_number = 1) as time_column
       from pg_attribute a left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
      where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
      order by a.attnum`,
    [table, model.schema, model.name],
  );
  const timeColumn = rows[0]?.time_column;
  if (!timeColumn) throw notFound('hypertable.not-found', `${fullName(model)} is no hypertable.`);
  const key = rows.filter(({ in_key }) => in_key).map(({ name }) => name);
  return {
    table,
    timeColumn,
    columns: rows.map(({ name, type }) => ({ name, type })),
    key: key.length > 0 ? key : rows.map(({ name }) => name),
  };
}

const quoted = (columns: readonly string[]): string => columns.map((column) => `"${column}"`).join(', ');
const names = ({ columns }: Source): string => quoted(columns.map(({ name }) => name));

/** By the table and its range, not by the chunk: a chunk that is compressed reads the same. */
const rowsOf = (source: Source, { rangeStart, rangeEnd }: ArchivedChunk): string =>
  `select ${names(source)} from ${source.table}
    where "${source.timeColumn}" >= '${rangeStart}' and "${source.timeColumn}" < '${rangeEnd}'`;

interface Fingerprint {
  readonly rows: number;
  readonly hash: string;
}

/** The sum of 128-bit hashes of rows, whatever their order; `rows` is a query. */
const fingerprintSql = (source: Source, rows: string): string => {
  const half = (start: number) =>
    `coalesce(sum(('x' || substr(h, ${start}, 16))::bit(64)::bigint::numeric), 0)`;
  return `select count(*)::text as rows, ${half(1)} || ':' || ${half(17)} as hash
            from (select md5(row(${names(source)})::text) as h from (${rows}) r) hashed`;
};

async function fingerprint(client: Client, source: Source, rows: string): Promise<Fingerprint> {
  const { rows: found } = await client.query<{ rows: string; hash: string }>(fingerprintSql(source, rows));
  return { rows: Number(found[0]?.rows), hash: found[0]?.hash ?? '' };
}

const same = (a: Fingerprint, b: Fingerprint): boolean => a.rows === b.rows && a.hash === b.hash;

async function archiveChunk(
  pool: Pool,
  client: Client,
  model: TableModel,
  eventId: string,
  directory: string,
  chunk: ArchivedChunk,
  report: (step: ArchiveStep) => Promise<void>,
): Promise<void> {
  const { rangeStart, rangeEnd } = chunk;
  const source = await sourceOf(client, model);
  const file = `${fullName(model)}/${compact(rangeStart)}-${compact(rangeEnd)}-${eventId.slice(0, 8)}.csv.gz`;
  const path = join(directory, file);
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    // A rebuild gives the chunk of a range another name.
    const live = (await chunksOf(client, model)).find(
      (c) => c.rangeStart === rangeStart && c.rangeEnd === rangeEnd,
    );
    if (!live) {
      await client.query(
        `update timescale.archived_chunks set state = case state when 'written' then 'dropped' else 'gone' end
          where event_id = $1 and range_start = $2`,
        [eventId, rangeStart],
      );
      return;
    }
    await setStatus(client, eventId, 'archiving');
    // In a session of its own, which ends with whatever breaks the stream: the other one must still be able to say so.
    const [wanted, written] = await withSession(pool, 'waylog archive', async (reader) => {
      await reader.query('begin isolation level repeatable read read only');
      const rows = rowsOf(source, chunk);
      return [
        await fingerprint(reader, source, rows),
        await writeRows(reader, `${rows} order by ${quoted(source.key)}`, path),
      ] as const;
    });
    await report('copied');

    await setStatus(client, eventId, 'verifying');
    const loaded = await withSession(pool, 'waylog archive', async (reader) => {
      await reader.query('begin');
      return load(reader, source, path);
    });
    if ((await sha256Of(path)) !== written.sha256 || !same(loaded, wanted)) {
      throw conflict(
        'archive.unverified',
        `${path} does not read back as the ${wanted.rows} rows that were written (${loaded.rows} came back). Nothing was ` +
          'dropped. Check the disk, then run it again.',
      );
    }
    await report('verified');

    const manifest: Manifest = {
      format: 'waylog-archive-1',
      eventId,
      table: fullName(model),
      timeColumn: source.timeColumn,
      chunk: live.chunkName,
      rangeStart,
      rangeEnd,
      columns: source.columns,
      file,
      rows: wanted.rows,
      ...written,
      rowHash: wanted.hash,
      writtenAt: new Date().toISOString(),
    };
    await writeManifest(path, manifest);
    await client.query(
      `update timescale.archived_chunks
          set state = 'written', chunk_name = $3, file = $4, row_count = $5, bytes = $6, sha256 = $7, row_hash = $8
        where event_id = $1 and range_start = $2`,
      [eventId, rangeStart, live.chunkName, file, wanted.rows, written.bytes, written.sha256, wanted.hash],
    );
    await report('written');

    if (await dropIfSame(client, model, source, eventId, { ...chunk, chunkName: live.chunkName }, wanted)) {
      await report('dropped');
      return;
    }
    await report('changed');
  }
  throw conflict(
    'archive.chunk-changing',
    `The rows from ${rangeStart} to ${rangeEnd} of ${fullName(model)} changed each of the ${ATTEMPTS} times that they were written. ` +
      'Nothing of them was dropped. Archive them when nobody writes there any more.',
  );
}

/** Drops a chunk while nobody can write to it, if its rows are still those of the file: one transaction. */
function dropIfSame(
  client: Client,
  model: TableModel,
  source: Source,
  eventId: string,
  chunk: ArchivedChunk,
  wanted: Fingerprint,
): Promise<boolean> {
  return inTransaction(client, async () => {
    // Readers go on while the rows are compared; the drop itself then asks for all.
    await client.query(`lock table ${chunk.chunkName} in share row exclusive mode`);
    if (!same(await fingerprint(client, source, rowsOf(source, chunk)), wanted)) return false;
    const { rows } = await client.query<{ name: string }>(
      `select drop_chunks($1::text::regclass, older_than => $2::timestamptz, newer_than => $3::timestamptz) as name`,
      [source.table, chunk.rangeEnd, chunk.rangeStart],
    );
    if (rows.length !== 1 || rows[0]?.name !== chunk.chunkName) {
      throw conflict(
        'archive.other-chunk',
        `Dropping ${chunk.chunkName} would have dropped ${rows.map(({ name }) => name).join(', ') || 'nothing'}; it was not done.`,
      );
    }
    const range = { start: new Date(chunk.rangeStart), end: new Date(chunk.rangeEnd) };
    await recordDropped(client, model, [range], 'archive');
    await client.query(
      `update timescale.archived_chunks set state = 'dropped' where event_id = $1 and range_start = $2`,
      [eventId, chunk.rangeStart],
    );
    return true;
  });
}

/** Reads a file into the temporary table `archived`, which goes with the transaction, and answers what was in it. */
async function load(client: Client, source: Source, path: string): Promise<Fingerprint> {
  await client.query(
    `create temporary table archived on commit drop as select ${names(source)} from ${source.table} limit 0`,
  );
  await readRows(client, path, 'archived', names(source));
  return fingerprint(client, source, 'select * from archived');
}

async function restoreChunk(
  client: Client,
  model: TableModel,
  event: ArchivalEvent,
  chunk: ArchivedChunk,
  path: string,
  onRestored: (client: ClientBase) => Promise<unknown>,
): Promise<{ restored: number; present: number; outdated: number }> {
  const source = await sourceOf(client, model);
  await checkFile(event, chunk, path);
  return inTransaction(client, async () => {
    const loaded = await load(client, source, path).catch((error: unknown) => {
      throw tampered(path, `it cannot be read back (${messageOf(error)})`);
    });
    if (!same(loaded, { rows: chunk.rows ?? -1, hash: chunk.rowHash ?? '' }))
      throw tampered(path, `its ${loaded.rows} rows are not the ${chunk.rows ?? 0} that were archived`);
    const matching = (columns: readonly string[]) =>
      columns.map((column) => `live."${column}" = archived."${column}"`).join(' and ');
    const present = await client.query(
      `delete from archived where exists (select from ${source.table} live where ${matching(source.key)})`,
    );
    let outdated = 0;
    if (model.identity) {
      // The same frame stands at another time by now.
      const { rowCount } = await client.query(
        `delete from archived where exists (select from ${source.table} live where ${matching(model.identity)})`,
      );
      outdated += rowCount ?? 0;
    }
    if (model.owner) {
      const { rowCount } = await client.query(
        `delete from archived where not exists
           (select from ${model.owner.table} owner where owner."${model.owner.key}" = archived."${model.owner.column}")`,
      );
      outdated += rowCount ?? 0;
    }
    const wanted = await fingerprint(client, source, 'select * from archived');
    const { rows: put } = await client.query<{ rows: string; hash: string }>(
      `with put as (
         insert into ${source.table} (${names(source)}) select ${names(source)} from archived on conflict do nothing
         returning ${names(source)}
       ) ${fingerprintSql(source, 'select * from put')}`,
    );
    if (!same({ rows: Number(put[0]?.rows), hash: put[0]?.hash ?? '' }, wanted)) {
      throw conflict(
        'archive.in-use',
        `Somebody wrote to ${event.tableName} while rows were being restored there. Nothing of this chunk was restored; try again.`,
      );
    }
    await client.query(
      `delete from timescale.dropped_ranges
        where table_schema = $1 and table_name = $2 and range_start = $3 and range_end = $4`,
      [model.schema, model.name, chunk.rangeStart, chunk.rangeEnd],
    );
    await client.query(
      `update timescale.archived_chunks set state = 'restored' where event_id = $1 and range_start = $2`,
      [event.eventId, chunk.rangeStart],
    );
    await onRestored(client);
    return { restored: wanted.rows, present: present.rowCount ?? 0, outdated };
  });
}

/** The file must be, byte by byte, the one that the database and its manifest know. */
async function checkFile(event: ArchivalEvent, chunk: ArchivedChunk, path: string): Promise<void> {
  const missing = (error: unknown) => {
    throw conflict(
      'archive.file-missing',
      `${path} or its manifest cannot be read (${messageOf(error)}). The files were written to ${event.lakehousePath}; ` +
        'if they have been moved since, say where they are.',
      { eventId: event.eventId },
    );
  };
  const manifest = await readManifest(path).catch(missing);
  const known = { sha256: chunk.sha256, rows: chunk.rows, rowHash: chunk.rowHash };
  for (const [name, value] of Object.entries(known)) {
    if (manifest[name as keyof typeof known] !== value)
      throw tampered(path, `its manifest says another ${name} than the database`);
  }
  if ((await sha256Of(path).catch(missing)) !== chunk.sha256) throw tampered(path, 'its SHA-256 is another');
}

const tampered = (path: string, why: string) =>
  conflict(
    'archive.tampered',
    `${path} is not the file that was archived: ${why}. Nothing of it was restored. Fetch it from a backup; or rebuild the table ` +
      'from the log, which still has every event.',
    { path },
  );

/** A time for a file name: 20260501T120000Z. */
const compact = (timestamp: string): string => timestamp.replaceAll(/[-:]|\.\d+/g, '');

async function eventsOf(
  client: Pick<Client, 'query'>,
  where: string,
  values: unknown[],
): Promise<ArchivalEvent[]> {
  const { rows } = await client.query<{
    event_id: string;
    table_name: string;
    status: ArchivalStatus;
    older_than: Date;
    lakehouse_path: string;
    created_at: Date;
    completed_at: Date | null;
    error_message: string | null;
  }>(
    `select e.event_id, e.table_schema || '.' || e.table_name as table_name, e.status, e.older_than, e.lakehouse_path,
            e.created_at, e.completed_at, e.error_message
       from timescale.archival_events e where ${where} order by e.created_at desc`,
    values,
  );
  const { rows: chunks } = await client.query<{
    event_id: string;
    range_start: Date;
    range_end: Date;
    chunk_name: string;
    state: ArchivedChunk['state'];
    file: string | null;
    row_count: string | null;
    bytes: string | null;
    sha256: string | null;
    row_hash: string | null;
  }>(`select * from timescale.archived_chunks where event_id = any ($1) order by range_start`, [
    rows.map(({ event_id }) => event_id),
  ]);
  return rows.map((row) => ({
    eventId: row.event_id,
    tableName: row.table_name,
    status: row.status,
    olderThan: row.older_than.toISOString(),
    lakehousePath: row.lakehouse_path,
    createdAt: row.created_at.toISOString(),
    ...(row.completed_at && { completedAt: row.completed_at.toISOString() }),
    ...(row.error_message && { errorMessage: row.error_message }),
    chunks: chunks
      .filter(({ event_id }) => event_id === row.event_id)
      .map((chunk) => ({
        chunkName: chunk.chunk_name,
        rangeStart: chunk.range_start.toISOString(),
        rangeEnd: chunk.range_end.toISOString(),
        state: chunk.state,
        ...(chunk.file && {
          file: chunk.file,
          rows: Number(chunk.row_count),
          bytes: Number(chunk.bytes),
          sha256: chunk.sha256 ?? '',
          rowHash: chunk.row_hash ?? '',
        }),
      })),
  }));
}
