import type { Client } from 'pg';
import { notFound, rowsHash } from '#lib/platform';
import type { TableModel } from '../hypertables/models.js';
import { readRows } from './chunk-file.js';
import type { ArchivedChunk, ArchivalStatus } from './models.js';

/** The rows of a table in a range, and how to identify them. */
export interface Source {
  readonly table: string;
  readonly timeColumn: string;
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  /** The primary key, or every column if there is none. */
  readonly key: readonly string[];
}

export async function sourceOf(client: Client, model: TableModel): Promise<Source> {
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

export const quoted = (columns: readonly string[]): string =>
  columns.map((column) => `"${column}"`).join(', ');
export const names = ({ columns }: Source): string => quoted(columns.map(({ name }) => name));

/** By the table and its range, not by the chunk: a compressed chunk reads the same. */
export const rowsOf = (source: Source, { rangeStart, rangeEnd }: ArchivedChunk): string =>
  `select ${names(source)} from ${source.table}
    where "${source.timeColumn}" >= '${rangeStart}' and "${source.timeColumn}" < '${rangeEnd}'`;

export interface Fingerprint {
  readonly rows: number;
  readonly hash: string;
}

/** The sum of 128-bit hashes of rows, whatever their order; `rows` is a query. */
export const fingerprintSql = (source: Source, rows: string): string => {
  return `select count(*)::text as rows, ${rowsHash.text} as hash
            from (select md5(row(${names(source)})::text) as h from (${rows}) r) hashed`;
};

export async function fingerprint(client: Client, source: Source, rows: string): Promise<Fingerprint> {
  const { rows: found } = await client.query<{ rows: string; hash: string }>(fingerprintSql(source, rows));
  return { rows: Number(found[0]?.rows), hash: found[0]?.hash ?? '' };
}

export const same = (a: Fingerprint, b: Fingerprint): boolean => a.rows === b.rows && a.hash === b.hash;

/**
 * Reads a file into the temporary table `archived`, which is dropped with the transaction, and returns what was in it.
 */
export async function load(client: Client, source: Source, path: string): Promise<Fingerprint> {
  await client.query(
    `create temporary table archived on commit drop as select ${names(source)} from ${source.table} limit 0`,
  );
  await readRows(client, path, 'archived', names(source));
  return fingerprint(client, source, 'select * from archived');
}

export const fullName = ({ schema, name }: TableModel): string => `${schema}.${name}`;

export const setStatus = (client: Client, eventId: string, status: ArchivalStatus, errorMessage?: string) =>
  client.query(
    `update timescale.archival_events
        set status = $2, error_message = $3, completed_at = case when $2 in ('completed', 'failed') then clock_timestamp() end
      where event_id = $1`,
    [eventId, status, errorMessage ?? null],
  );
