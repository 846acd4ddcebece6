import type { Pool, QueryConfig } from 'pg';
import { databaseCall } from '#lib/platform';
import type { LogProblem } from '../event-store.js';

/** How many of each kind are named; if there are more, the detail of the last says how many. */
const NAMED = 20;

interface Check {
  readonly code: string;
  readonly severity: LogProblem['severity'];
  /** Selects `stream_id` (or null) and `detail`. */
  readonly sql: string;
}

const checks: readonly Check[] = [
  {
    code: 'position-gap',
    severity: 'error',
    // Positions are numbered without gaps under a lock, except between histories, so a missing one was removed.
    sql: `
      select null as stream_id, 'positions ' || before + 1 || ' to ' || position - 1 || ' are missing' as detail
        from (select position, lag(position, 1, 0::bigint) over (order by position) as before from log.events) e
       where position <> before + 1
         and not exists (select from log.histories h
                          where h.written_by is not null and h.kept_position = before::text and h.resumes_after = (position - 1)::text)`,
  },
  {
    code: 'stream-gap',
    severity: 'error',
    sql: `
      select s.stream_id, 'has ' || n || ' events, but revisions from ' || first || ' to ' || last as detail
        from (select stream_key, count(*) as n, min(revision) as first, max(revision) as last
                from log.events group by stream_key) e
        join log.streams s using (stream_key)
       where first <> 0 or n <> last + 1`,
  },
  {
    code: 'stream-disorder',
    severity: 'error',
    sql: `
      select s.stream_id, 'revision ' || revision || ' stands at position ' || position || ', before revision ' || revision - 1 as detail
        from (select stream_key, revision, position, lag(position) over (partition by stream_key order by revision) as before
                from log.events) e
        join log.streams s using (stream_key)
       where position < before`,
  },
  {
    code: 'orphan-event',
    severity: 'error',
    sql: `
      select null as stream_id, 'the event at position ' || position || ' belongs to no stream' as detail
        from log.events e
       where not exists (select from log.streams s where s.stream_key = e.stream_key)`,
  },
  {
    code: 'repeated-id',
    severity: 'error',
    // One stream cannot hold an id twice; two streams can, as ids are only looked up within a stream.
    sql: `
      select s.stream_id, 'holds ' || n || ' events with the id ' || id as detail
        from (select stream_key, id, count(*) as n from log.events group by stream_key, id having count(*) > 1) e
        join log.streams s using (stream_key)`,
  },
  {
    code: 'empty-stream',
    severity: 'warning',
    sql: `
      select stream_id, 'has no events: an append to it was refused' as detail
        from log.streams s
       where not exists (select from log.events e where e.stream_key = s.stream_key)`,
  },
];

/** Longer than the pool's own limit: a check of the whole log takes minutes if the log is large. */
const PATIENCE_MS = 6 * 3_600_000;

/** Checks the log, check by check, in one snapshot. */
export async function checkLog(pool: Pool): Promise<LogProblem[]> {
  const client = await databaseCall(() => pool.connect());
  try {
    await client.query('begin isolation level repeatable read read only');
    await client.query('set local statement_timeout = 0');
    const problems: LogProblem[] = [];
    for (const { code, severity, sql } of checks) {
      const { rows } = await client.query<{ stream_id: string | null; detail: string; n: string }>({
        text: `select *, count(*) over () as n from (${sql}) found limit ${NAMED}`,
        query_timeout: PATIENCE_MS,
      } as QueryConfig);
      for (const [i, { stream_id, detail, n }] of rows.entries()) {
        const more = i === rows.length - 1 && Number(n) > NAMED ? ` (${n} of this kind in all)` : '';
        problems.push({
          severity,
          code,
          detail: detail + more,
          ...(stream_id !== null && { streamId: stream_id }),
        });
      }
    }
    return problems;
  } finally {
    await client.query('rollback').catch(() => undefined);
    client.release();
  }
}
