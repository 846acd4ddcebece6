import type { ClientBase } from 'pg';
import { readRows, type TextRow } from '#lib/platform';
import { asFound, genesis } from './chain.js';
import type { Finding } from './explain.js';
import { endOf, eventsOutside } from './read-events.js';

/** How many streams are named. */
const NAMED = 10_000;

/**
 * Witnesses that have seen more of the log than it holds. Cutting off the end of the log leaves valid chains, but the
 * tables have folded more. Only for tables that were folded from this very log: tables of another log prove nothing.
 */
const seenSql = `
  with of_this_log as (
    select f.projector
      from projection.folded_log f
      join log.events e on e.position = case when f.first_position ~ '^[0-9]{1,18}$' then f.first_position::bigint end
     where e.id::text = f.first_event_id::text
  ), log_end as (
    select coalesce(max(position), 0) as position from log.events
  ), claims as (
    select 'the tables have folded' as who, stream_id, max(revision) as revision
      from projection.stream_revisions where projector in (table of_this_log) group by stream_id
    union all
    select 'a snapshot was taken of', stream_id, max(revision)
      from log.snapshots where exists (table of_this_log) group by stream_id
  )
  select who, c.stream_id, c.revision, coalesce(last.revision, -1)
    from claims c
    left join log.streams s using (stream_id)
    left join lateral (select revision from log.events e where e.stream_key = s.stream_key order by revision desc limit 1)
      as last on true
   where c.revision > coalesce(last.revision, -1)
  union all
  select 'the tables have folded', null, max(c.position::bigint), log_end.position
    from projection.checkpoints c, log_end
   where c.projector in (table of_this_log) and c.position ~ '^[0-9]{1,18}$'
   group by log_end.position
  having max(c.position::bigint) > log_end.position
   order by 2 nulls first
   limit ${NAMED + 1}`;

/** Where tables and snapshots have seen events that the log does not hold. */
export async function seenBeyond(client: ClientBase): Promise<Finding[]> {
  const rows = (await readRows(client, undefined, seenSql, [])) as [string, string | null, string, string][];
  const findings = rows.map(([who, streamId, seen, there]): Finding => ({
    problem: {
      code: 'event-removed',
      ...(streamId !== null && { streamId, revision: Number(there) + 1 }),
      detail:
        streamId === null
          ? `${who} it up to position ${seen}; it ends at position ${there}`
          : `${who} revision ${seen}; the log ${there === '-1' ? 'holds no event of it' : `ends at revision ${there}`}`,
    },
    coveredFrom: 0,
    // A log that has lost its end and grows again is the same break; a stream that does is not.
    mark: streamId === null ? `${who} ${seen}` : `${who} ${streamId} ${seen} ${there}`,
  }));
  if (findings.length <= NAMED) return findings;
  const detail = 'and there are more streams of which the tables have folded more than there is';
  return [...findings.slice(0, NAMED), { problem: { code: 'event-removed', detail } }];
}

/** A position that was answered, or an event that was seen: the log must hold an event there. */
export interface Witness {
  /** The witness and what it saw: the beginning of a sentence. */
  readonly says: string;
  readonly position: string;
  readonly streamId?: string | undefined;
  readonly hash?: string | undefined;
}

/**
 * Positions and events that the log does not hold. That it continues beyond proves nothing: after a loss positions are
 * counted on from the time, and a server that does not know of the loss uses them again.
 */
export async function notThere(client: ClientBase, witnesses: readonly Witness[]): Promise<Finding[]> {
  if (witnesses.length === 0) return [];
  const rows = await readRows(
    client,
    undefined,
    `select e.position, s.stream_id, encode(e.hash, 'hex') from log.events e left join log.streams s using (stream_key)
      where e.position = any ($1::bigint[])`,
    [witnesses.map(({ position }) => position)],
  );
  const end = await endOf(client);
  return witnesses.flatMap(({ says, position, streamId, hash }): Finding[] => {
    // The position of an empty log.
    if (BigInt(position) === 0n) return [];
    const there = rows.filter(([at]) => BigInt(at as string) === BigInt(position));
    const isIt = ([, stream, hashed]: TextRow) =>
      (streamId === undefined || stream === streamId) && (hash === undefined || hashed === hash);
    if (there.some(isIt)) return [];
    const instead =
      there.length > 0
        ? `another event stands there${streamId === undefined ? '' : `, of the stream ${there[0]?.[1] ?? 'without a name'}`}`
        : BigInt(position) > end
          ? `the log ends at position ${end}`
          : 'there is none in the log, which goes on beyond it';
    return [{ problem: { code: 'event-removed', detail: `${says} position ${position}; ${instead}` } }];
  });
}

/** Times that the log went back, which no operator has acknowledged: the process that noticed has recorded it. */
export async function openLosses(client: ClientBase): Promise<Finding[]> {
  const rows = (await readRows(
    client,
    undefined,
    `select id, kept_position, seen_position from log.losses where acknowledged_at is null order by id limit ${NAMED}`,
    [],
  )) as [string, string, string][];
  return rows.map(([id, kept, seen]) => ({
    problem: {
      code: 'event-removed',
      detail: `a server noticed that the log went back from position ${seen} to ${kept}, and nobody has acknowledged it: \`waylog log acknowledge ${id} --why TEXT\``,
    },
    coveredFrom: 0,
    mark: `loss ${id} ${kept} ${seen}`,
  }));
}

/** Events that a walk along the positions does not reach. */
export async function putOutside(client: ClientBase): Promise<Finding[]> {
  return (await eventsOutside(client, NAMED)).map((event): Finding => {
    const { streamId, revision, type, id } = event;
    const position = /^-?\d+$/.test(event.position) ? event.position : 'none';
    return {
      problem: {
        code: 'event-inserted',
        streamId,
        revision,
        detail: `the event at revision ${revision} (${type} ${id}) stands at position ${position}; the log begins at position 1`,
      },
      spoils: 1,
      coveredFrom: 0,
      mark: `position ${position} ${asFound(genesis(streamId).hash, event).toString('hex')}`,
    };
  });
}
