import type { Pool } from 'pg';
import { readRows, timestampFromPostgres, type TextRow } from '#lib/platform';
import type { JsonObject, RecordedEvent } from '../event-store.js';
import { decodeMetadata } from './metadata.js';

const columns = `e.position, s.stream_id, e.revision, e.id, e.type, e.schema_version, e.recorded_at, e.data, e.metadata`;

const streamSql = `
  select ${columns}
    from log.streams s join log.events e using (stream_key)
   where s.stream_id = $1 and e.revision between $2 and $3
   order by e.revision
   limit $4`;

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

// Positions have no gaps (log.append numbers them under a lock), so their difference is a count.
const backlogSql = `
  select coalesce(max(position), 0) - $1::bigint, (select recorded_at from log.events where position > $1 order by position limit 1)
    from log.events`;

export async function readStreamPage(pool: Pool, streamId: string, from: number, to: number, limit: number) {
  return (await readRows(pool, 'log.read-stream', streamSql, [streamId, from, to, limit])).map(recordedEvent);
}

export async function readAllPage(pool: Pool, after: string, limit: number, types?: readonly string[]) {
  const rows = types
    ? await readRows(pool, 'log.read-all-of-types', allOfTypesSql, [after, limit, types])
    : await readRows(pool, 'log.read-all', allSql, [after, limit]);
  return rows.map(recordedEvent);
}

export async function readHead(pool: Pool): Promise<string> {
  const rows = await readRows(pool, 'log.head', `select coalesce(max(position), 0) from log.events`, []);
  return rows[0]?.[0] ?? '0';
}

export async function readBacklog(pool: Pool, after: string) {
  const [events, since] = (await readRows(pool, 'log.backlog', backlogSql, [after]))[0] ?? [];
  return { events: Math.max(0, Number(events)), since: since ? timestampFromPostgres(since) : undefined };
}

function recordedEvent(row: TextRow): RecordedEvent {
  const [position, streamId, revision, id, type, version, recordedAt, data, metadata] = row as string[];
  return {
    position: position as string,
    streamId: streamId as string,
    revision: Number(revision),
    id: id as string,
    type: type as string,
    schemaVersion: Number(version),
    recordedAt: timestampFromPostgres(recordedAt as string),
    data: JSON.parse(data as string) as JsonObject,
    metadata: decodeMetadata(id as string, metadata as string),
  };
}
