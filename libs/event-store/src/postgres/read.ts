import type { Pool } from 'pg';
import { readRows, timestampFromPostgres, type TextRow } from '#lib/platform';
import type { EventMetadata, JsonObject, RecordedEvent } from '../event-store.js';

const eventColumns = `e.position, e.revision, e.id, e.type, e.schema_version, e.recorded_at, e.data, e.metadata`;
const columns = `${eventColumns}, s.stream_id`;

// Not a join: for that PostgreSQL reads and sorts the rest of the stream for every page.
const streamSql = `
  select ${eventColumns}
    from log.events e
   where e.stream_key = (select stream_key from log.streams where stream_id = $1) and e.revision between $2 and $3
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
  const rows = await readRows(pool, 'log.read-stream', streamSql, [streamId, from, to, limit]);
  return rows.map(recordedEvents(() => streamId));
}

export async function readAllPage(pool: Pool, after: string, limit: number, types?: readonly string[]) {
  const rows = types
    ? await readRows(pool, 'log.read-all-of-types', allOfTypesSql, [after, limit, types])
    : await readRows(pool, 'log.read-all', allSql, [after, limit]);
  return rows.map(recordedEvents((row) => row[8] as string));
}

export async function readHead(pool: Pool): Promise<string> {
  const rows = await readRows(pool, 'log.head', `select coalesce(max(position), 0) from log.events`, []);
  return rows[0]?.[0] ?? '0';
}

export async function readBacklog(pool: Pool, after: string) {
  const [events, since] = (await readRows(pool, 'log.backlog', backlogSql, [after]))[0] ?? [];
  return { events: Math.max(0, Number(events)), since: since ? timestampFromPostgres(since) : undefined };
}

/** Makes events of rows that come one after another. */
function recordedEvents(streamIdOf: (row: TextRow) => string): (row: TextRow) => RecordedEvent {
  // What was recorded together has the same time: it is the same text for up to thousands of rows.
  let timeText = '';
  let time = '';
  return (row) => {
    const [position, revision, id, type, version, recordedAt, data, metadata] = row as string[];
    if (recordedAt !== timeText) time = timestampFromPostgres((timeText = recordedAt as string));
    return {
      position: position as string,
      streamId: streamIdOf(row),
      revision: Number(revision),
      id: id as string,
      type: type as string,
      schemaVersion: Number(version),
      recordedAt: time,
      data: JSON.parse(data as string) as JsonObject,
      metadata: JSON.parse(metadata as string) as EventMetadata,
    };
  };
}
