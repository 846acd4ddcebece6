import type { Pool } from 'pg';
import { readRows, timestampFromPostgres, type TextRow, type Timestamp } from '#lib/platform';
import type { JsonObject, RecordedEvent } from '../event-store.js';
import type { Landmark } from '../history/seen.js';
import { decodeMetadata } from './metadata.js';

const columns = `e.position, s.stream_id, e.revision, e.id, e.type, e.schema_version, e.recorded_at, e.data, e.metadata`;

// Not a join: for that PostgreSQL reads and sorts the rest of the stream for every page. One row per page, with a text
// for each column: a replay then uses half the time of this process that 10,000 rows of eight texts use. PostgreSQL's
// own json_agg accepts any type, so a user-defined one that accepts json would be preferred to it.
const streamSql = `
  select string_agg(position::text, ','), string_agg(revision::text, ','), string_agg(id::text, ','), string_agg(type, E'\\n'),
         string_agg(schema_version::text, ','), string_agg(recorded_at::text, ','), pg_catalog.json_agg(data),
         string_agg(metadata::text, E'\\n')
    from (select *
            from log.events
           where stream_key = (select stream_key from log.streams where stream_id = $1) and revision between $2 and $3
           order by revision
           limit $4) e`;

const allSql = `
  select ${columns}
    from (select * from log.events where position > $1 order by position limit $2) e
    join log.streams s using (stream_key)
   order by e.position`;

const allOfTypesSql = `
  select ${columns}
    from (select * from log.events where position > $1 and type = any ($3) order by position limit $2) e
    join log.streams s using (stream_key)
   order by e.position`;

/** `like` patterns of the streams of some categories, whose names are plain words. */
export const patternsOf = (categories: readonly string[]): string[] => categories.map((name) => `${name}-%`);

// First a row without an id, which says how many events were looked at, and up to where; then the events. In a log of
// these categories alone it is as fast as a read of the whole log.
const ofCategoriesSql = `
  with looked as materialized (
    select count(*)::integer as events, max(position) as last
      from (select position from log.events where position > $1 order by position limit $2) p)
  select last as position, null as stream_id, events as revision, null::uuid as id, null as type,
         null::integer as schema_version, null::timestamptz as recorded_at, null::json as data, null::json as metadata
    from looked
   union all
  (select ${columns}
     from (select * from log.events
            where position > $1 and position <= (select last from looked) order by position limit $2) e
     join log.streams s using (stream_key)
    where s.stream_id like any ($3) and ($4::text[] is null or e.type = any ($4))
    order by e.position limit $5)`;

/** The most events that one statement looks at. */
const MAX_LOOKED_AT = 50_000;

/** Events of streams of some categories, and the position up to which there is no other one after `after`. */
export async function readPageOfCategories(
  pool: Pool,
  after: string,
  limit: number,
  {
    categories,
    types,
    signal,
  }: {
    readonly categories: readonly string[];
    readonly types?: readonly string[] | undefined;
    /** Once it is aborted, returns what it has found so far. */
    readonly signal?: AbortSignal | undefined;
  },
): Promise<{ readonly events: RecordedEvent[]; readonly upTo: string }> {
  const patterns = patternsOf(categories);
  const timestamp = timestamps();
  const events: RecordedEvent[] = [];
  let upTo = after;
  for (let most = limit; ; most = Math.min(MAX_LOOKED_AT, most * 4)) {
    const wanted = limit - events.length;
    const rows = await readRows(pool, 'log.read-categories', ofCategoriesSql, [
      upTo,
      most,
      patterns,
      types ?? null,
      wanted,
    ]);
    const looked = rows.find(([, , , id]) => id === null);
    const found = rows.filter(([, , , id]) => id !== null).map((row) => recordedEvent(row, timestamp));
    events.push(...found);
    if (found.length === wanted) return { events, upTo: found.at(-1)?.position ?? upTo };
    upTo = looked?.[0] ?? upTo;
    if (Number(looked?.[2]) < most || signal?.aborted) return { events, upTo };
  }
}

// Positions have no gaps except those between histories (log.append numbers them under a lock), so their difference is
// a count.
const backlogSql = `
  select coalesce(max(position), 0) - $1::bigint
         - (select coalesce(sum(h.resumes_after::bigint - greatest(h.kept_position::bigint, $1::bigint)), 0) from log.histories h
             where h.written_by is not null and h.resumes_after::bigint > $1::bigint
               and exists (select from log.events e where e.position > h.resumes_after::bigint)),
         (select recorded_at from log.events where position > $1 order by position limit 1)
    from log.events`;

/**
 * The largest text, in PostgreSQL and in V8, limits a page: 1,000 events of half a megabyte. Types and metadata hold no
 * newlines: log.append separates them by those.
 */
export async function readStreamPage(
  pool: Pool,
  streamId: string,
  from: number,
  to: number,
  limit: number,
): Promise<RecordedEvent[]> {
  const [row] = await readRows(pool, 'log.read-stream', streamSql, [streamId, from, to, limit]);
  if (!row?.[0]) return [];
  const [positions, revisions, ids, types, versions, times, data, metadata] = row as string[];
  const lists = {
    revisions: split(revisions),
    ids: split(ids),
    types: split(types, '\n'),
    versions: split(versions),
    times: split(times),
    metadata: split(metadata, '\n'),
  };
  const bodies = JSON.parse(data as string) as JsonObject[];
  const timestamp = timestamps();
  return split(positions).map((position, i) => ({
    position,
    streamId,
    revision: Number(lists.revisions[i]),
    id: lists.ids[i] as string,
    type: lists.types[i] as string,
    schemaVersion: Number(lists.versions[i]),
    recordedAt: timestamp(lists.times[i] as string),
    data: bodies[i] as JsonObject,
    metadata: decodeMetadata(lists.ids[i] as string, lists.metadata[i] as string),
  }));
}

const split = (text: string | undefined, separator = ','): string[] => (text ?? '').split(separator);

export async function readAllPage(pool: Pool, after: string, limit: number, types?: readonly string[]) {
  const rows = types
    ? await readRows(pool, 'log.read-all-of-types', allOfTypesSql, [after, limit, types])
    : await readRows(pool, 'log.read-all', allSql, [after, limit]);
  const timestamp = timestamps();
  return rows.map((row) => recordedEvent(row, timestamp));
}

export async function readHead(pool: Pool): Promise<string> {
  const rows = await readRows(pool, 'log.head', `select coalesce(max(position), 0) from log.events`, []);
  return rows[0]?.[0] ?? '0';
}

export async function readBacklog(pool: Pool, after: string) {
  const [events, since] = (await readRows(pool, 'log.backlog', backlogSql, [after]))[0] ?? [];
  return { events: Math.max(0, Number(events)), since: since ? timestampFromPostgres(since) : undefined };
}

function recordedEvent(row: TextRow, timestamp: (text: string) => string): RecordedEvent {
  const [position, streamId, revision, id, type, version, recordedAt, data, metadata] = row as string[];
  return {
    position: position as string,
    streamId: streamId as string,
    revision: Number(revision),
    id: id as string,
    type: type as string,
    schemaVersion: Number(version),
    recordedAt: timestamp(recordedAt as string),
    data: JSON.parse(data as string) as JsonObject,
    metadata: decodeMetadata(id as string, metadata as string),
  };
}

/** Reads times one after another: events recorded together have the same one, thousands of rows in a row. */
function timestamps(): (text: string) => Timestamp {
  let last = '';
  let time = '';
  return (text) => (text === last ? time : (time = timestampFromPostgres((last = text))));
}

export async function isThere(pool: Pool, { position, id }: Landmark): Promise<boolean> {
  const sql = `select from log.events where position = $1 and id = $2`;
  return (await readRows(pool, 'log.is-there', sql, [position, id])).length > 0;
}

/** The last event of the history of a position, once another history has begun. */
export async function keptBefore(pool: Pool, position: string): Promise<string> {
  const sql = `
    select kept_position from log.histories
     where written_by is not null and resumes_after::bigint >= $1::bigint order by resumes_after::bigint limit 1`;
  return (await readRows(pool, 'log.kept-before', sql, [position]))[0]?.[0] ?? (await readHead(pool));
}
