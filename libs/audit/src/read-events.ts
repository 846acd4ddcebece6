import type { ClientBase } from 'pg';
import { readRows, type TextRow } from '#lib/platform';
import { asFound, genesis, type ChainedEvent } from './chain.js';

const PAGE = 10_000;

const columns = `
  e.position, s.stream_id, e.revision, e.id, e.type, e.schema_version,
  (extract(epoch from e.recorded_at) * 1000000)::bigint, e.metadata, e.data, encode(e.hash, 'hex'), e.stream_key`;

const eventsSql = `
  select ${columns}
    from (select * from log.events where position > $1 and position <= $2 order by position limit ${PAGE}) e
    left join log.streams s using (stream_key)
   order by e.position`;

const outsideSql = `
  select ${columns}
    from (select * from log.events where position <= 0 order by position limit $1) e
    left join log.streams s using (stream_key)
   order by e.position`;

const streamSql = `
  select ${columns}
    from log.events e
    left join log.streams s using (stream_key)
   where stream_key = coalesce($2::bigint, (select stream_key from log.streams where stream_id = $1))
     and revision > $3 and revision <= $4
   order by revision limit ${PAGE}`;

/** No position is greater. */
export const END = String(2n ** 63n - 1n);

/** What an event is said to belong to whose stream has no name any more. */
const unnamedStream = (key: string): string => `(stream key ${key})`;
const unnamedKey = (streamId: string): string | undefined => /^\(stream key (\d+)\)$/.exec(streamId)?.[1];
export const isUnnamed = (streamId: string): boolean => unnamedKey(streamId) !== undefined;

/** The events after a position as they stand in the table, in pages, in the order of their positions. */
export async function* readEvents(
  client: ClientBase,
  after: string,
  upTo: string = END,
): AsyncIterable<ChainedEvent[]> {
  for (let from = after; ;) {
    const page = (await readRows(client, undefined, eventsSql, [from, upTo])).map(chainedEvent);
    const last = page.at(-1);
    if (!last) return;
    yield page;
    if (page.length < PAGE) return;
    from = last.position;
  }
}

/**
 * Events below the first position, at most so many. No append puts one there, and whoever follows the log passes them by; but
 * reads of their stream answer them.
 */
export async function eventsOutside(client: ClientBase, limit: number): Promise<ChainedEvent[]> {
  return (await readRows(client, undefined, outsideSql, [limit])).map(chainedEvent);
}

/** The hash over the rows of a stream up to a revision, as they stand. */
export async function streamAsFound(client: ClientBase, streamId: string, upTo: number): Promise<string> {
  let { hash } = genesis(streamId);
  for (let after = -(2 ** 31); ;) {
    const values = [streamId, unnamedKey(streamId) ?? null, after, upTo];
    const rows = (await readRows(client, undefined, streamSql, values)).map(chainedEvent);
    for (const event of rows) hash = asFound(hash, event);
    const last = rows.at(-1);
    if (!last || rows.length < PAGE) return hash.toString('hex');
    after = last.revision;
  }
}

function chainedEvent(row: TextRow): ChainedEvent {
  const [position, streamId, revision, id, type, schemaVersion, recordedAtUs, metadata, data, hash, key] =
    row as [string, string | null, ...string[]];
  return {
    position,
    streamId: streamId ?? unnamedStream(key as string),
    revision: Number(revision),
    id: id as string,
    type: type as string,
    schemaVersion: schemaVersion as string,
    recordedAtUs: recordedAtUs as string,
    metadata: metadata as string,
    data: data as string,
    hash: Buffer.from(hash as string, 'hex'),
  };
}
