import pg from 'pg';
import {
  Background,
  backoffDelay,
  messageOf,
  parseTimestamp,
  Waker,
  WaylogError,
  type Timestamp,
  inTransaction,
  isTooMuch,
  pause,
} from '#lib/platform';
import type { Position, RecordedEvent } from '#lib/event-store';
import {
  advanceCheckpoints,
  BatchSize,
  CheckpointWatch,
  compareLog,
  createCheckpoints,
  keepReporting,
  lead,
  loadCheckpoints,
  pausedSince,
  Trouble,
  type ProjectorState,
  type ProjectorStatus,
} from '#lib/projections';
import { notePolicyDrops } from '#lib/timescale';
import type { FollowerOptions } from '#lib/waylog';
import { flightIdOf, type FlightEvents } from '../events.js';
import { frameResults } from './frame-results.projection.js';

/** Its name among the projectors. */
export const FRAME_MINUTES = 'frame-minutes';
const NAME = FRAME_MINUTES;

/** The longest between two attempts, as the projector's. */
const MAX_BACKOFF_MS = 2_000;

/**
 * A batch of one event that is too much for the database is tried this many times, in separate sessions, for this long.
 */
const ATTEMPTS_ALONE = 3;
const PATIENCE_ALONE_MS = 60_000;

/**
 * Minutes that are further apart than this are computed one after another, so that no statement opens the chunks
 * between them.
 */
const GAP_MS = 7 * 86_400_000;

/** Its checkpoint, among those of the projections. */
export const frameMinutesRollup = { name: 'frame_minutes', version: 1 };
const ROLLUP = frameMinutesRollup;
const TYPES: readonly (keyof FlightEvents)[] = ['FrameResultSaved', 'FlightDeleted'];

export interface FrameMinutesOptions extends FollowerOptions {
  /** The shortest time between two batches; default one second. Changes within one batch are computed once. */
  readonly intervalMs?: number;
  /** The most events in one batch. */
  readonly batchSize?: number;
  readonly standbyIntervalMs?: number;
}

export type FollowerState = Exclude<ProjectorState, 'catching-up'>;

export interface FollowerStatus extends Omit<ProjectorStatus, 'state'> {
  readonly state: FollowerState;
}

const PAUSE_POLL_MS = 250;

/**
 * Keeps the minute rollup of frame results. It is a second follower of the log that never goes ahead of the table. It
 * collects the minutes that events have touched and computes these again from the table, in one transaction with its
 * checkpoint. So after a kill at any moment, repeating a batch gives the same rows. The projector does not depend on it
 * and is not delayed.
 *
 * When the table was replaced (a rebuild), everything is rolled up again: the oid of the table shows it.
 */
export class FrameMinutes {
  readonly #options: Required<FrameMinutesOptions>;
  readonly #watch: CheckpointWatch;
  readonly #batchSize: BatchSize;
  readonly #trouble: Trouble;
  readonly #reporting: Trouble;
  /** How often in a row a single event, or a single flight, was too much, and since when. */
  #alone: { failures: number; readonly since: number } | undefined;
  readonly #background = new Background((signal) => this.#run(signal));
  #state: FollowerState = 'stopped';
  #position: Position | undefined;
  /** The event types that affect the rollup. */
  #eventsFolded = 0;
  #lastError: FollowerStatus['lastError'];

  constructor(options: FrameMinutesOptions) {
    this.#options = { intervalMs: 1_000, batchSize: 5_000, standbyIntervalMs: 1_000, ...options };
    const { pool, listener, store, batchSize } = this.#options;
    this.#batchSize = new BatchSize(batchSize);
    this.#trouble = new Trouble('Keeping minute rollups', options.log);
    this.#reporting = new Trouble('Recording the status of the minute rollups', options.log);
    this.#watch = new CheckpointWatch(
      pool,
      listener,
      store,
      { projector: NAME, names: [ROLLUP.name] },
      this.#options.follows,
    );
  }

  get status(): FollowerStatus {
    return {
      state: this.#state,
      position: this.#position,
      eventsFolded: this.#eventsFolded,
      lastError: this.#lastError,
    };
  }

  /** Resolves when the rollup holds the log up to a position. Throws `projection.behind` after `timeoutMs`. */
  waitFor(position: Position, timeoutMs: number): Promise<void> {
    return this.#watch.waitFor(position, timeoutMs);
  }

  start(): void {
    this.#background.start();
  }

  /** Finishes the current batch and gives up the lead. */
  async stop(): Promise<void> {
    await this.#background.stop();
    this.#state = 'stopped';
  }

  /** Stops, and closes the listener. */
  async close(): Promise<void> {
    await this.stop();
    this.#watch.close();
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#lead(signal);
      } catch (error) {
        this.#fail(error);
        this.#trouble.failed(error);
        await pause(backoffDelay(this.#trouble.failures, 100, MAX_BACKOFF_MS), signal);
      }
    }
    this.#trouble.end();
    this.#reporting.end();
  }

  #fail(error: unknown): void {
    this.#state = 'failed';
    this.#lastError = { message: messageOf(error), at: new Date().toISOString() };
  }

  /** Waits for the lead, then follows until told to stop or until an error. */
  #lead(signal: AbortSignal): Promise<void> {
    const { pool, connectionString, standbyIntervalMs } = this.#options;
    const options = {
      name: NAME,
      applicationName: `waylog ${NAME}`,
      connectionString,
      standbyIntervalMs,
      onStandby: () => {
        this.#state = 'standby' as const;
      },
      signal,
    };
    return lead(options, async (client, going) => {
      const reporting = keepReporting({
        pool,
        name: NAME,
        leader: client,
        status: () => this.status,
        trouble: this.#reporting,
      });
      try {
        await this.#follow(client, going);
      } catch (error) {
        this.#fail(error);
        throw error;
      } finally {
        await reporting.end();
      }
    });
  }

  async #follow(client: pg.Client, signal: AbortSignal): Promise<void> {
    const { store, pool, listener, intervalMs } = this.#options;
    await createCheckpoints(pool, NAME, [ROLLUP], store.beginning);
    const waker = new Waker(listener, 'waylog_checkpoints', 5_000, signal);
    try {
      for (let isOurLog = false; !signal.aborted;) {
        waker.arm();
        // Its checkpoint must be of the same log as those of the tables. The projector says which log that is.
        isOurLog ||= (await compareLog(pool, store, this.#options.follows)) !== 'other';
        if (!isOurLog) {
          this.#state = 'standby';
          await pause(intervalMs, signal);
          continue;
        }
        if (await this.#isPaused()) {
          this.#state = 'paused';
          await pause(PAUSE_POLL_MS, signal);
          continue;
        }
        let progress;
        try {
          progress = await this.#stepOrLess(client, signal);
        } catch (error) {
          // Paused in the middle of a batch: the checkpoint has not moved, and nothing was written.
          if (await this.#isPaused()) continue;
          throw error;
        }
        this.#trouble.succeeded();
        this.#state = 'active';
        if (progress === 'nothing new') await waker.wait();
        else if (progress === 'up to date') await pause(intervalMs, signal);
      }
    } finally {
      waker.close();
    }
  }

  async #isPaused(): Promise<boolean> {
    return (await pausedSince(this.#options.pool, [NAME])) !== undefined;
  }

  /**
   * A batch that is too much for the database is repeated with fewer events. If one event is too much, it is left and
   * reported.
   */
  async #stepOrLess(
    client: pg.Client,
    signal: AbortSignal,
  ): Promise<'nothing new' | 'up to date' | 'behind'> {
    const began = performance.now();
    const size = this.#batchSize.now;
    const { failures, since } = (this.#alone ??= { failures: 0, since: began });
    const isLeft = failures >= ATTEMPTS_ALONE && began - since > PATIENCE_ALONE_MS;
    try {
      const progress = await this.#step(client, signal, isLeft);
      this.#batchSize.wentWell(performance.now() - began);
      this.#alone = undefined;
      return progress;
    } catch (error) {
      if (isTooMuch(error)) {
        this.#batchSize.wasTooMuch(size);
        if (size === 1) this.#alone = { failures: failures + 1, since };
      }
      // In a new session: this one may be without an answer.
      throw error;
    }
  }

  /** One batch, one transaction. `isLeft` marks a batch that is too much: its minutes stay as they are. */
  async #step(
    client: pg.Client,
    signal: AbortSignal,
    isLeft: boolean,
  ): Promise<'nothing new' | 'up to date' | 'behind'> {
    const { store, pool, log } = this.#options;
    const batchSize = this.#batchSize.now;
    const at = async (projector: string, name: string) =>
      (await loadCheckpoints(pool, { projector, names: [name] }))[0]?.position;
    const from = (await at(NAME, ROLLUP.name)) ?? store.beginning;
    this.#position = from;
    // The position that the table holds. Before the projector has run once, there is nothing to roll up.
    const end = await at(this.#options.follows, frameResults.name);
    if (end === undefined) return 'nothing new';
    const { rows: known } = await client.query<{ source: string; same: boolean }>(
      `select 'flight.frame_results'::regclass::oid::text as source,
              exists (select from flight.frame_minutes_source where relation = 'flight.frame_results'::regclass) as same`,
    );
    if (!known[0]?.same) {
      await this.#rollUpAll(client, known[0]?.source ?? '', from, end, signal);
      return 'behind';
    }
    if (await this.#rollUpAgain(client, isLeft)) return 'behind';
    if (store.compare(end, from) <= 0) return 'nothing new';

    const page = await store.readAll({ after: from, limit: batchSize, types: TYPES });
    const batch = page.filter(({ position }) => store.compare(position, end) <= 0);
    const isWhole = page.length < batchSize || batch.length < page.length;
    const to = isWhole ? end : (batch.at(-1)?.position ?? end);
    const { deleted, flights, minutes } = touchedBy(batch);
    await inTransaction(client, async () => {
      await this.#advance(client, from, to);
      if (deleted.length > 0)
        await client.query(`delete from flight.frame_minute_parts where flight_id = any ($1)`, [deleted]);
      if (isLeft || minutes.length === 0) return;
      await notePolicyDrops(client);
      for (const near of nearby(minutes)) {
        const of = near.map((i) => flights[i]);
        const at = near.map((i) => minutes[i]);
        await client.query(rollUpTouchedSql, [of, at, at[0], at.at(-1)]);
      }
    });
    if (isLeft && minutes.length > 0)
      log.warn(
        `Minute rollups: ${flights.join(', ')} at ${minutes.join(', ')} are left as they are, because computing them is too much ` +
          `for the database. \`waylog hypertables verify-rollups\` names what differs.`,
      );
    this.#eventsFolded += batch.length;
    return isWhole ? 'up to date' : 'behind';
  }

  /** Rolls up whole flights that were requested with `rollUpAgain`; false if there are none. */
  async #rollUpAgain(client: pg.Client, isLeft: boolean): Promise<boolean> {
    const { log } = this.#options;
    const most = Math.min(100, this.#batchSize.now);
    let found = 0;
    await inTransaction(client, async () => {
      // Read before the frames: a request from now on is served by the next step.
      const { rows } = await client.query<{ flight_id: string }>(
        `delete from flight.frame_minutes_touched where flight_id in (select flight_id from flight.frame_minutes_touched limit $1)
         returning flight_id`,
        [most],
      );
      found = rows.length;
      if (found === 0) return;
      if (isLeft) {
        log.warn(
          `Minute rollups: those of ${rows.map(({ flight_id }) => flight_id).join(', ')} are left as they are, because computing ` +
            `them is too much for the database. \`waylog hypertables verify-rollups\` names what differs.`,
        );
        return;
      }
      await notePolicyDrops(client);
      await client.query(patient(rollUpFlightsSql, [rows.map(({ flight_id }) => flight_id)]));
    });
    return found > 0;
  }

  /**
   * Computes everything again, one TimescaleDB chunk at a time. Only then is the table noted as rolled up, so after a
   * kill it starts over.
   */
  async #rollUpAll(
    client: pg.Client,
    source: string,
    from: Position,
    end: Position,
    signal: AbortSignal,
  ): Promise<void> {
    this.#options.log.info('Minute rollups are made from the whole of flight.frame_results');
    await notePolicyDrops(client);
    const { rows: chunks } = await client.query<{ first: Date; last: Date }>(
      `select date_trunc('minute', range_start) as first, date_trunc('minute', range_end - interval '1 microsecond') as last
         from timescaledb_information.chunks
        where hypertable_schema = 'flight' and hypertable_name = 'frame_results' order by range_start`,
    );
    for (const { first, last } of chunks) {
      signal.throwIfAborted();
      // A policy could drop the rows that have just come back.
      await notePolicyDrops(client);
      await client.query(patient(rollUpRangeSql, [first, last]));
    }
    await inTransaction(client, async () => {
      await notePolicyDrops(client);
      await client.query(
        patient(clearStraySql, [chunks.map(({ first }) => first), chunks.map(({ last }) => last)]),
      );
      await client.query(`delete from flight.frame_minutes_source`);
      await client.query(`insert into flight.frame_minutes_source values ($1::text::oid)`, [source]);
      await this.#advance(client, from, end);
    });
  }

  async #advance(client: pg.Client, from: Position, to: Position): Promise<void> {
    const revisions = new Map<string, number>();
    const move = { projector: NAME, projections: [ROLLUP], from, to, revisions, parked: 0 };
    if ((await advanceCheckpoints(client, move)) === undefined)
      throw new Error(
        `The checkpoint of the minute rollups is no longer at position ${from}; starting over from it.`,
      );
    this.#position = to;
  }
}

/**
 * Requests that the minutes of these flights are computed again, in the transaction that wrote their frames out of the
 * order of the log: a repair of rows, or the fold of events that had been parked. The follower does it within seconds.
 */
export async function rollUpAgain(
  client: Pick<pg.ClientBase, 'query'>,
  flightIds: readonly string[],
): Promise<void> {
  await client.query(
    `insert into flight.frame_minutes_touched (flight_id)
     select distinct f.id from unnest($1::text[]) as f (id) on conflict do nothing`,
    [flightIds],
  );
}

/** The flights that a batch deletes, and the pairs of flight and minute whose frames it changes. */
export function touchedBy(events: readonly RecordedEvent[]): {
  deleted: string[];
  flights: string[];
  minutes: string[];
} {
  const deleted = new Set<string>();
  const touched = new Map<string, readonly [flight: string, minute: string]>();
  for (const event of events) {
    const flightId = flightIdOf(event);
    if (event.type === 'FlightDeleted') deleted.add(flightId);
    if (event.type !== 'FrameResultSaved') continue;
    for (const time of timesOf(event)) {
      const minute = minuteOf(time);
      touched.set(`${minute} ${flightId}`, [flightId, minute]);
    }
  }
  const pairs = [...touched.values()];
  return {
    deleted: [...deleted],
    flights: pairs.map(([flight]) => flight),
    minutes: pairs.map(([, minute]) => minute),
  };
}

/**
 * The minutes in which the frame of an event is now and was before. None for an event that cannot be read: the
 * projector has parked its flight, so the frame is not in the table. Once it is, its flight is rolled up again.
 */
function timesOf(event: RecordedEvent): Timestamp[] {
  try {
    const { timestamp, supersedes } = event.data as Partial<FlightEvents['FrameResultSaved']>;
    return [timestamp, supersedes].flatMap((time) => parseTimestamp(time ?? '') ?? []);
  } catch (error) {
    if (error instanceof WaylogError && error.code === 'event.unreadable') return [];
    throw error;
  }
}

/** The indexes of minutes in order, in groups with a gap between them. */
function nearby(minutes: readonly string[]): number[][] {
  const groups: number[][] = [];
  let last = -Infinity;
  const ordered = minutes.map((minute, i) => [Date.parse(minute), i] as const).sort(([a], [b]) => a - b);
  for (const [time, i] of ordered) {
    if (time - last > GAP_MS) groups.push([]);
    groups.at(-1)?.push(i);
    last = time;
  }
  return groups;
}

/** Canonical timestamps are UTC, so their minute is their prefix. */
const minuteOf = (timestamp: Timestamp): string => `${timestamp.slice(0, 16)}:00.000Z`;

/** Whether the rows of a minute were dropped on purpose. Then the kept rollup counts, not the rows that are left. */
const isDropped = (minute: string) => `exists (
  select from timescale.dropped_ranges d
   where d.table_schema = 'flight' and d.table_name = 'frame_results'
     and d.range_start < ${minute} + interval '1 minute' and d.range_end > ${minute})`;

/** Computes some minutes again: `frames` are the rows that count, `parts` the minutes that may have no row left. */
const rollUp = (frames: string, parts: string) => `
  with fresh as materialized (
    select r.flight_id, time_bucket(interval '1 minute', r."timestamp") as minute, count(*) as frames,
           avg(r.confidence order by r."timestamp", r.frame_id) as mean_confidence,
           min(r.confidence) as min_confidence,
           avg(case when r.refined then 1.0::double precision else 0.0::double precision end) as refined_share,
           flight.path(r.gps_lat, r.gps_lon order by r."timestamp", r.frame_id) as path
      from flight.frame_results r
     where ${frames}
     group by 1, 2
  ), gone as (
    delete from flight.frame_minute_parts p
     where ${parts} and not ${isDropped('p.minute')}
       and not exists (select from fresh f where f.flight_id = p.flight_id and f.minute = p.minute)
  )
  insert into flight.frame_minute_parts as p
         (flight_id, minute, frames, mean_confidence, min_confidence, refined_share, path)
  select flight_id, minute, frames, mean_confidence, min_confidence, refined_share, path from fresh
  on conflict (flight_id, minute) do update
     set frames = excluded.frames, mean_confidence = excluded.mean_confidence, min_confidence = excluded.min_confidence,
         refined_share = excluded.refined_share, path = excluded.path
   where excluded.frames >= p.frames or not ${isDropped('excluded.minute')}`;

// The bounds are for TimescaleDB: with only a join to a list it could exclude no chunk.
const rollUpTouchedSql = rollUp(
  `r.flight_id = any ($1::text[])
       and r."timestamp" >= $3::timestamptz and r."timestamp" < $4::timestamptz + interval '1 minute'
       and (r.flight_id, time_bucket(interval '1 minute', r."timestamp")) in (select * from unnest($1::text[], $2::timestamptz[]))`,
  `(p.flight_id, p.minute) in (select * from unnest($1::text[], $2::timestamptz[]))`,
);

const rollUpFlightsSql = rollUp(`r.flight_id = any ($1::text[])`, `p.flight_id = any ($1::text[])`);

/** A range of whole minutes, both ends included. */
const rollUpRangeSql = rollUp(
  `r."timestamp" >= $1::timestamptz and r."timestamp" < $2::timestamptz + interval '1 minute'`,
  `p.minute between $1::timestamptz and $2::timestamptz`,
);

/** Removes minutes outside every chunk, and those of flights that no longer exist. */
const clearStraySql = `
  delete from flight.frame_minute_parts p
   where not exists (select from flight.flights f where f.id = p.flight_id)
      or (not ${isDropped('p.minute')}
          and not exists (select from unnest($1::timestamptz[], $2::timestamptz[]) as c (first, last)
                           where p.minute between c.first and c.last))`;

/** For statements over many rows: no time limit, where other statements count as lost after half a minute. */
const patient = (text: string, values: unknown[]): pg.QueryConfig =>
  ({ text, values, query_timeout: 6 * 3_600_000 }) as pg.QueryConfig;
