import type pg from 'pg';
import { databaseCall, timestampFromPostgres, type Timestamp } from '#lib/platform';
import { PartOfLog, type Position, type ReadableLog } from '#lib/event-store';
import { identityOf } from '#lib/projections';

/** How far a reactor has come. */
export interface RecordedReactor {
  readonly version: number;
  readonly position: Position;
  /** Which log that is a position of (`nameOfLog`); undefined if it was empty. */
  readonly log: string | undefined;
  /** How often an operator has moved it. */
  readonly resets: number;
  readonly movedAt: Timestamp;
  readonly isPaused: boolean;
}

/**
 * Tells a log from every other one, copies of it too, by its first event: a copy has it at another position or time.
 * Undefined for an empty log. Of a part of a log, the name of the whole.
 */
export async function nameOfLog(log: ReadableLog): Promise<string | undefined> {
  const first = await identityOf(log instanceof PartOfLog ? log.whole : log);
  return first && `${first.eventId.toLowerCase()} ${first.position} ${first.recordedAt}`;
}

/** Undefined for one that has never run. */
export async function loadReactor(
  client: Pick<pg.Pool | pg.ClientBase, 'query'>,
  name: string,
): Promise<RecordedReactor | undefined> {
  const { rows } = await client.query<{
    version: number;
    position: string;
    log: string | null;
    resets: number;
    moved_at: string;
    is_paused: boolean;
  }>({
    name: 'reactor.load',
    text: `select version, position, log, resets, moved_at::text, paused_at is not null as is_paused
             from projection.reactors where name = $1 and position is not null`,
    values: [name],
  });
  const [row] = rows;
  return (
    row && {
      version: row.version,
      position: row.position,
      log: row.log ?? undefined,
      resets: row.resets,
      movedAt: timestampFromPostgres(row.moved_at),
      isPaused: row.is_paused,
    }
  );
}

/** How far a reactor has come. One that is new is recorded at the end of the log, or where it is to begin. */
export async function placeOf(
  pool: pg.Pool,
  store: Pick<ReadableLog, 'head' | 'beginning'>,
  { name, version, startsAt = 'end' }: NewReactor,
): Promise<RecordedReactor> {
  const known = await databaseCall(() => loadReactor(pool, name));
  if (known) return known;
  const position = startsAt === 'end' ? await store.head() : store.beginning;
  await databaseCall(() =>
    // Another process may be a moment earlier.
    pool.query(
      `insert into projection.reactors (name, version, position) values ($1, $2, $3) on conflict do nothing`,
      [name, version, position],
    ),
  );
  return (await loadReactor(pool, name)) as RecordedReactor;
}

/**
 * Records a reactor at a position of the log, whatever is recorded of an earlier one of its name, which must have a smaller
 * version: that one does not act any more.
 */
export async function takePlaceAnew(
  pool: pg.Pool,
  {
    name,
    version,
    position,
  }: Pick<NewReactor, 'name' | 'version'> & {
    readonly position: Position;
  },
): Promise<void> {
  await databaseCall(() =>
    pool.query(
      `with placed as (
         insert into projection.reactors as r (name, version, position) values ($1, $2, $3)
         on conflict (name) do update
            set version = excluded.version, position = excluded.position, log = null, resets = r.resets + 1,
                moved_at = clock_timestamp(), paused_at = null, paused_by = null, pause_reason = null
       )
       delete from projection.reactions where reactor = $1`,
      [name, version, position],
    ),
  );
}

export interface NewReactor {
  readonly name: string;
  readonly version: number;
  /** Default at the end of the log. */
  readonly startsAt?: 'end' | 'beginning' | undefined;
}
