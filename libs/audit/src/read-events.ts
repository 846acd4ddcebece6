import type { ClientBase } from 'pg';
import { asText, readRows, type TextRow } from '#lib/platform';
import { asFound, genesis, type ChainedEvent } from './chain.js';

const PAGE = 10_000;

/** Replaces a value that a row lacks. No text in PostgreSQL can hold it, so no recorded event had it. */
const NOTHING = '\0';

// Times can be infinite, or so late that no bigint holds them.
const columns = `
  e.position, e.revision, e.id, e.type, e.schema_version,
  trunc(extract(epoch from e.recorded_at) * 1000000), e.metadata, e.data, encode(e.hash, 'hex'), e.stream_key`;

const eventsSql = `
  select ${columns}
    from log.events e
   where position > $1 and position <= $2
   order by position`;

const outsideSql = `
  select ${columns}
    from log.events e
   where position <= 0 or position is null
   order by position
   limit $1`;

// A fixed order even for rows that a table without its constraints can hold.
const streamSql = `
  select ${columns}
    from log.events e
   where stream_key = any (case when $2::bigint is null
                                then array(select stream_key from log.streams where stream_id = $1)
                                else array[$2::bigint] end)
     and (revision <= $3 or revision is null)
   order by revision, position, id, hash`;

/** No position is greater. */
export const END = String(2n ** 63n - 1n);

/** The position of the last event; 0 if there is none. */
export async function endOf(client: ClientBase): Promise<bigint> {
  const [row] = await readRows(client, undefined, `select coalesce(max(position), 0) from log.events`, []);
  return BigInt(row?.[0] ?? '0');
}

/** The position that many events further on, or that of the last event. */
export async function endOfSegment(client: ClientBase, after: bigint, events: number): Promise<bigint> {
  const [row] = await readRows(
    client,
    undefined,
    `select max(position) from (select position from log.events where position > $1 order by position limit $2) e`,
    [String(after), events],
  );
  return BigInt(row?.[0] ?? after);
}

/**
 * How many events there are up to a position, except for missing ones: positions are counted up, but not between two
 * histories. A gap that is only claimed is not subtracted.
 */
export async function eventsUpTo(client: ClientBase, position: string): Promise<bigint> {
  const [row] = await readRows(
    client,
    undefined,
    `select $1::bigint - coalesce((select sum(upper(gap) - lower(gap)) from unnest(range_agg(int8range(h.kept, h.after))) gap), 0)
       from (select kept_position::bigint as kept, resumes_after::bigint as after from log.histories
              where written_by is not null and kept_position ~ '^[0-9]{1,18}$' and resumes_after ~ '^[0-9]{1,18}$') h
      where h.kept < h.after and h.after <= $1::bigint
        and not exists (select from log.events e where e.position > h.kept and e.position <= h.after)`,
    [position],
  );
  return BigInt(row?.[0] ?? position);
}

const NO_KEY = '(no stream key)';

/** The stream named for an event whose stream no longer has a name. */
const unnamedStream = (key: string): string => (key === NOTHING ? NO_KEY : `(stream key ${key})`);
const unnamedKey = (streamId: string): string | undefined => /^\(stream key (-?\d+)\)$/.exec(streamId)?.[1];
export const isUnnamed = (streamId: string): boolean =>
  streamId === NO_KEY || unnamedKey(streamId) !== undefined;

let cursors = 0;

/**
 * Rows in pages, in the caller's transaction. By a cursor: paging by a value loses rows that share it, and an attacker
 * who can drop constraints can insert such rows.
 */
async function* pages(client: ClientBase, sql: string, values: unknown[]): AsyncIterable<ChainedEvent[]> {
  // The cursor's name must not distinguish an audit from other readers.
  const cursor = `list_${++cursors}`;
  await client.query(`declare ${cursor} no scroll cursor for ${sql}`, values);
  for (;;) {
    // Never retried: a second fetch would skip what the first one has read.
    const text = `fetch ${PAGE} from ${cursor}`;
    const { rows } = await client.query<TextRow>({ text, rowMode: 'array', types: asText });
    if (rows.length > 0) yield await named(client, rows);
    if (rows.length < PAGE) break;
  }
  await client.query(`close ${cursor}`);
}

/**
 * The events after a position as they are in the table, in pages, in the order of their positions. Runs in the caller's
 * transaction.
 */
export const readEvents = (
  client: ClientBase,
  after: string,
  upTo: string = END,
): AsyncIterable<ChainedEvent[]> => pages(client, eventsSql, [after, upTo]);

/**
 * Events below the first position, or without one, up to a limit. No append creates them, and followers of the log skip
 * them; but reads of their stream return them.
 */
export async function eventsOutside(client: ClientBase, limit: number): Promise<ChainedEvent[]> {
  return named(client, await readRows(client, undefined, outsideSql, [limit]));
}

/** The hash over the rows of a stream up to a revision, as they are. Runs in the caller's transaction. */
export async function streamAsFound(client: ClientBase, streamId: string, upTo: number): Promise<string> {
  let { hash } = genesis(streamId);
  for await (const page of pages(client, streamSql, [streamId, unnamedKey(streamId) ?? null, upTo]))
    for (const event of page) hash = asFound(hash, event);
  return hash.toString('hex');
}

/**
 * Rows with the names of their streams. Without a join, which may sort a long log as a whole. If a key has more than
 * one name, its events are read under each.
 */
async function named(client: ClientBase, rows: readonly TextRow[]): Promise<ChainedEvent[]> {
  const found = await readRows(
    client,
    undefined,
    `select stream_key, stream_id from log.streams where stream_key = any ($1::bigint[])`,
    [[...new Set(rows.map(keyOf))].filter((key) => key !== NOTHING)],
  );
  const names = new Map<string, string[]>();
  for (const [key, name] of found as [string, string | null][])
    names.set(key, [...(names.get(key) ?? []), name ?? unnamedStream(key)]);
  return rows.flatMap((row) =>
    (names.get(keyOf(row)) ?? [unnamedStream(keyOf(row))]).map((streamId) => chainedEvent(streamId, row)),
  );
}

const keyOf = (row: TextRow): string => row.at(-1) ?? NOTHING;

function chainedEvent(streamId: string, row: TextRow): ChainedEvent {
  const [position, revision, id, type, schemaVersion, recordedAtUs, metadata, data] = row.map(
    (value) => value ?? NOTHING,
  ) as [string, string, string, string, string, string, string, string];
  return {
    position,
    streamId,
    revision: Number(revision),
    id,
    type,
    schemaVersion,
    recordedAtUs,
    metadata,
    data,
    hash: Buffer.from(row[8] ?? '', 'hex'),
  };
}
