import type { ClientBase } from 'pg';
import { readRows } from '#lib/platform';
import type { ChainedEvent } from './chain.js';

const PAGE = 10_000;

const eventsSql = `
  select e.position, s.stream_id, e.revision, e.id, e.type, e.schema_version,
         (extract(epoch from e.recorded_at) * 1000000)::bigint, e.metadata, e.data, encode(e.hash, 'hex'), e.stream_key
    from (select * from log.events where position > $1 order by position limit ${PAGE}) e
    left join log.streams s using (stream_key)
   order by e.position`;

/** What an event is said to belong to whose stream has no name any more. */
const unnamedStream = (key: string): string => `(stream key ${key})`;
export const isUnnamed = (streamId: string): boolean => streamId.startsWith('(stream key ');

/** The events after a position as they stand in the table, in pages, in the order of their positions. */
export async function* readEvents(client: ClientBase, after: string): AsyncIterable<ChainedEvent[]> {
  for (let from = after; ;) {
    const rows = await readRows(client, undefined, eventsSql, [from]);
    const page = rows.map((row): ChainedEvent => {
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
    });
    const last = page.at(-1);
    if (!last) return;
    yield page;
    if (page.length < PAGE) return;
    from = last.position;
  }
}
