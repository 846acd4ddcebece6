import { IsInt, IsString, Min } from 'class-validator';
import type pg from 'pg';
import {
  conflict,
  databaseCall,
  IsTimestamp,
  notFound,
  Optional,
  readRows,
  timestampFromPostgres,
  type Timestamp,
} from '#lib/platform';
import type { Position, ReadableLog } from '#lib/event-store';
import { leaderLock } from '#lib/projections';
import { lockOf } from './led.js';
import { nameOfLog } from './recorded.js';

/** What a reactor could not do: the first event of a stream, or the command of a deadline. */
export class WaitingReaction {
  @IsString() readonly reactor!: string;
  /** The stream, or the thing that has the deadline. */
  @IsString() readonly of!: string;
  /** Which deadline of the thing, if it has several of one kind. */
  @Optional() @IsString() readonly key?: string;
  /** Of the event that failed, or that set the deadline. */
  @IsInt() @Min(0) readonly revision!: number;
  /** The type of the event that failed. */
  @Optional() @IsString() readonly type?: string;
  /** When the deadline was. */
  @Optional() @IsTimestamp() readonly dueAt?: Timestamp;
  @IsString() readonly error!: string;
  @IsInt() @Min(0) readonly attempts!: number;
  @IsTimestamp() readonly lastAttemptAt!: Timestamp;
  /** Absent: it is parked, and not tried again until an operator decides. */
  @Optional() @IsTimestamp() readonly nextAttemptAt?: Timestamp;
}

/** What waits for these reactors and deadlines, the parked first. */
export async function waitingReactions(pool: pg.Pool, names: readonly string[]): Promise<WaitingReaction[]> {
  const rows = await readRows(
    pool,
    undefined,
    `select reactor, stream_id, null, revision, case when has_failed then type end, null,
            case when has_failed then error else 'The event before it was discarded; it has not been tried yet.' end,
            attempts, last_attempt_at, next_attempt_at
       from projection.reactions where reactor = any ($1)
     union all
     select deadline, id, key, revision, null, due_at, error, attempts, last_attempt_at, next_attempt_at
       from projection.sent_deadlines where deadline = any ($1) and error is not null and discarded_by is null
     order by 10 nulls first, 1, 2 limit 1000`,
    [names],
  );
  return rows.map(
    ([reactor, of, key, revision, type, dueAt, error, attempts, lastAttemptAt, nextAttemptAt]) => ({
      reactor: reactor as string,
      of: of as string,
      ...(key && { key }),
      revision: Number(revision),
      ...(type && { type }),
      ...(dueAt && { dueAt: timestampFromPostgres(dueAt) }),
      error: error as string,
      attempts: Number(attempts),
      lastAttemptAt: timestampFromPostgres(lastAttemptAt as string),
      ...(nextAttemptAt && { nextAttemptAt: timestampFromPostgres(nextAttemptAt) }),
    }),
  );
}

/**
 * Pauses reactors and deadlines, whichever process leads them, within a second; events under way are finished.
 * Pausing again changes nothing. Throws `reactor.never-ran`.
 */
export async function pauseReactor(
  pool: pg.Pool,
  name: string,
  { reason, by }: { readonly reason: string; readonly by: string },
): Promise<void> {
  await change(
    pool,
    name,
    `update projection.reactors
        set paused_at = coalesce(paused_at, clock_timestamp()),
            paused_by = case when paused_at is null then $2 else paused_by end,
            pause_reason = case when paused_at is null then $3 else pause_reason end
      where name = $1`,
    [by, reason],
  );
}

/** Throws `reactor.never-ran`. */
export const resumeReactor = (pool: pg.Pool, name: string): Promise<void> =>
  change(
    pool,
    name,
    `update projection.reactors set paused_at = null, paused_by = null, pause_reason = null where name = $1`,
  );

/**
 * Moves a reactor to a position: it acts, again or for the first time, on all that comes after it, and no more on what comes
 * before. Commands that it has sent for an event are not carried out again. What waits of events up to the position still
 * waits; what waits of later ones is acted on with them. Throws `reactor.never-ran`, `position.invalid` and
 * `reactor.beyond-end`.
 */
export async function resetReactor(
  pool: pg.Pool,
  name: string,
  log: ReadableLog,
  to: Position,
): Promise<void> {
  const head = await log.head();
  if (log.compare(to, head) > 0)
    throw conflict(
      'reactor.beyond-end',
      `The log ends at position ${head}, and ${to} comes after it: ${name} would pass over events that are still to come.`,
      { head },
    );
  const held = await readRows(
    pool,
    undefined,
    `select stream_id, position from projection.reactions where reactor = $1`,
    [name],
  );
  const later = held.filter(([, position]) => isAfter(log, position as string, to)).map(([stream]) => stream);
  await change(
    pool,
    name,
    `with moved as (
       update projection.reactors
          set position = $2, log = $3, resets = resets + 1, moved_at = clock_timestamp()
        where name = $1 and position is not null
       returning 1
     ), forgotten as (
       delete from projection.reactions using moved where reactor = $1 and stream_id = any ($4)
     )
     select from moved`,
    [to, (await nameOfLog(log)) ?? null, later],
  );
}

/** A position of another log comes after any of this one. */
function isAfter(log: ReadableLog, position: Position, to: Position): boolean {
  try {
    return log.compare(position, to) > 0;
  } catch {
    return true;
  }
}

/** Has what waits tried again within a second, parked or not: all of it, or what waits of one stream or thing. Returns how many. */
export async function retryReactions(pool: pg.Pool, name: string, of?: string): Promise<number> {
  const { rows } = await databaseCall(() =>
    pool.query<{ count: number }>(
      `with streams as (
         update projection.reactions set next_attempt_at = clock_timestamp(), attempts = 0
          where reactor = $1 and ($2::text is null or stream_id = $2) returning 1
       ), things as (
         update projection.sent_deadlines set next_attempt_at = clock_timestamp(), attempts = 0
          where deadline = $1 and error is not null and discarded_by is null and ($2::text is null or id = $2) returning 1
       )
       select ((select count(*) from streams) + (select count(*) from things))::integer as count`,
      [name, of ?? null],
    ),
  );
  const count = rows[0]?.count ?? 0;
  if (count === 0 && of !== undefined) throw nothingWaits(name, of);
  return count;
}

/**
 * Leaves out what failed, for good, and goes on with what comes after it. `key` is for one deadline of a thing that has
 * several of a kind. Throws `reactor.nothing-waits`.
 */
export async function discardReaction(
  pool: pg.Pool,
  name: string,
  of: string,
  { key, reason, by }: { readonly key?: string | undefined; readonly reason: string; readonly by: string },
): Promise<void> {
  const { rows } = await databaseCall(() =>
    pool.query<{ count: number }>(
      // What has not been tried since the last time is not what somebody has seen fail: twice is once.
      `with failed as (
         select * from projection.reactions where reactor = $1 and stream_id = $2 and has_failed and $5::text is null for update
       ), discarded as (
         insert into projection.discarded_reactions (reactor, stream_id, revision, event_id, type, error, reason, discarded_by)
         select reactor, stream_id, revision, event_id, type, error, $3, $4 from failed
         on conflict (reactor, stream_id, revision) do update
            set reason = excluded.reason, discarded_by = excluded.discarded_by, discarded_at = clock_timestamp()
       ), streams as (
         update projection.reactions r
            set revision = r.revision + 1, has_failed = false, attempts = 0, next_attempt_at = clock_timestamp()
           from failed f
          where r.reactor = f.reactor and r.stream_id = f.stream_id returning 1
       ), things as (
         update projection.sent_deadlines set next_attempt_at = null, discard_reason = $3, discarded_by = $4
          where deadline = $1 and id = $2 and ($5::text is null or key = $5) and error is not null and discarded_by is null
         returning 1
       )
       select ((select count(*) from streams) + (select count(*) from things))::integer as count`,
      [name, of, reason, by, key ?? null],
    ),
  );
  if (rows[0]?.count === 0) throw nothingWaits(name, key === undefined ? of : `${of} (${key})`);
}

const nothingWaits = (name: string, of: string) =>
  notFound(
    'reactor.nothing-waits',
    `Nothing of ${of} has failed for ${name} and waits, or the next event has not been tried yet. See \`waylog reactors waiting\`.`,
    {
      reactor: name,
      of,
    },
  );

/** A reactor or a deadline that has run on a database. */
export interface RanReactor {
  readonly name: string;
  /** Streams, or commands of deadlines, that have failed and were not discarded. */
  readonly waiting: number;
}

/** All that have run on this database, whether a context still declares them or not. */
export async function ranReactors(pool: pg.Pool): Promise<RanReactor[]> {
  const rows = await readRows(
    pool,
    undefined,
    `select r.name,
            (select count(*) from projection.reactions a where a.reactor = r.name)
              + (select count(*) from projection.sent_deadlines d
                  where d.deadline = r.name and d.error is not null and d.discarded_by is null)
       from projection.reactors r order by r.name`,
    [],
  );
  return rows.map(([name, waiting]) => ({ name: name as string, waiting: Number(waiting) }));
}

/**
 * Forgets where one was and what waits for it, which nobody does any more; what was discarded stays on record. For one that
 * no context declares: if another one takes its name, it begins as a new one does. Returns how much waited. Throws
 * `reactor.never-ran`, and `reactor.runs` while a process leads it.
 */
export async function forgetReactor(pool: pg.Pool, name: string): Promise<number> {
  const { rows } = await databaseCall(() =>
    pool.query<{ is_free: boolean; forgotten: number; waited: number }>(
      `with free as materialized (
         select pg_try_advisory_xact_lock($3) as is_free
       ), reactor as (
         delete from projection.reactors using free where is_free and name = $1 returning 1
       ), streams as (
         delete from projection.reactions using free where is_free and reactor = $1 returning 1
       ), things as (
         delete from projection.sent_deadlines using free where is_free and deadline = $1
         returning error is not null and discarded_by is null as waited
       ), lead as (
         delete from projection.projectors using free where is_free and name = $2
       )
       select is_free, (select count(*) from reactor)::integer as forgotten,
              ((select count(*) from streams) + (select count(*) from things where waited))::integer as waited
         from free`,
      [name, lockOf(name), leaderLock(lockOf(name))],
    ),
  );
  const [found] = rows;
  if (!found?.is_free)
    throw conflict(
      'reactor.runs',
      `A process runs ${name}, an older version perhaps. Stop it first: \`waylog doctor\` shows which programs use the database.`,
      { reactor: name },
    );
  if (found.forgotten === 0) throw neverRan(name, 'There is nothing to forget.');
  return found.waited;
}

async function change(
  pool: pg.Pool,
  name: string,
  sql: string,
  values: readonly unknown[] = [],
): Promise<void> {
  const { rowCount } = await databaseCall(() => pool.query(sql, [name, ...values]));
  if (rowCount === 0) throw neverRan(name, 'Start the server once.');
}

const neverRan = (name: string, remedy: string) =>
  notFound('reactor.never-ran', `${name} has not run on this database yet. ${remedy}`, { reactor: name });
