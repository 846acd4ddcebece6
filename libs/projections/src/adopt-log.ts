import type pg from 'pg';
import { conflict, inTransaction } from '#lib/platform';
import type { ReadableLog, Position, RecordedEvent } from '#lib/event-store';
import { withFoldSessions } from './fold-sessions.js';
import { identityOf, otherLog, recordFoldedLog } from './folded-log.js';
import { loadOmissions } from './omissions.js';
import type { Projection } from './projection.js';
import { failedEvent, type FailedEvent } from './parking.js';
import { forgetRebuild } from './rebuild.js';
import { isOfStream } from './lost-events.js';
import { parkUnfoldable, ShadowFold } from './shadow-fold.js';
import { createShadow, discardShadows, shadowOf, swapping, swapShadow } from './shadow-table.js';

export interface AdoptOptions {
  readonly projector: string;
  readonly projections: readonly Projection[];
  /** Projectors that keep something derived from these tables: they begin again. */
  readonly followers?: readonly string[] | undefined;
  readonly store: ReadableLog;
  readonly connectionString: string;
  /**
   * Refuses, with `projection.other-log`, a log that lacks what the tables hold, that is, one to which this log was not
   * copied.
   */
  readonly onlyIfWhole: boolean;
  /** Called after each batch with the number of folded events, and about how many there are. */
  readonly onProgress?: (events: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface AdoptResult {
  readonly events: number;
  readonly streams: number;
  /** The position of the tables in the new log. */
  readonly position: Position;
  /** Streams that are parked now, because one of their events could not be folded: the tables hold them up to there. */
  readonly parked: readonly FailedEvent[];
}

/**
 * Rebuilds the tables of a projector from a log that is not the one they were folded from, and adopts it. In one
 * transaction the new tables replace the old ones, and checkpoints and stream revisions become those of the new log.
 * Until then nothing changes, and the old tables can be read. Parked and discarded events stay so if the new log has
 * the same event at the same place of its stream; and a stream whose lost events somebody accepted, if they are missing
 * there too.
 *
 * The caller leads the projector: no other process can move its checkpoints.
 */
export async function adoptLog(options: AdoptOptions): Promise<AdoptResult> {
  return withFoldSessions('rebuild', options, async ({ writer, holder }) => {
    const { projector, projections, followers = [], store, signal } = options;
    const names = projections.map(({ name }) => name);
    const identity = await identityOf(store);
    if (options.onlyIfWhole) await mustHoldAll(holder, store, projector);
    const total = (await store.backlog(store.beginning)).events;
    const omitted = await omittedEvents(holder, store, projector);
    for (const { table, streamId, revision, position, isStillLost } of omitted) {
      if (position !== undefined || isStillLost) continue;
      if (options.onlyIfWhole)
        throw otherLog(
          `, and it has another event at revision ${revision} of ${streamId}, which is parked or discarded`,
        );
      await holder.query(`delete from projection.${table} ${whereOmitted}`, [projector, streamId, revision]);
    }
    const shadows = new Map(
      projections.map((projection) => [projection, shadowOf('rebuild', projection.table)]),
    );
    try {
      await forgetRebuild(holder, { projector, names });
      for (const shadow of shadows.values()) await createShadow(writer, shadow);
      const fold = new ShadowFold(writer, shadows, {
        projector,
        store,
        signal,
        onProgress: (events) => options.onProgress?.(events, Math.max(total, events)),
      });
      const position = await store.head();
      if (!(await fold.upTo(position)))
        throw conflict('projection.parked-meanwhile', 'What is parked was changed meanwhile. Try again.');
      await swapping(
        [...shadows.values()],
        () =>
          inTransaction(holder, async () => {
            await holder.query(
              `select from projection.checkpoints where projector = any ($1) order by projector, projection for update`,
              [[projector, ...followers]],
            );
            for (const shadow of shadows.values()) await swapShadow(holder, shadow);
            await takeOver(holder, projector, projections, {
              position,
              beginning: store.beginning,
              followers,
            });
            await holder.query(
              `insert into projection.stream_revisions (projector, stream_id, revision)
               select $1, * from unnest($2::text[], $3::integer[])`,
              [projector, [...fold.revisions.keys()], [...fold.revisions.values()]],
            );
            for (const { table, streamId, revision, position: at, isStillLost } of omitted) {
              // Its events would be left out if there were some again.
              const isNowhere = isStillLost && !fold.revisions.has(streamId);
              if (isNowhere)
                await holder.query(`delete from projection.${table} ${whereOmitted}`, [
                  projector,
                  streamId,
                  revision,
                ]);
              await holder.query(`update projection.${table} set position = $4 ${whereOmitted}`, [
                projector,
                streamId,
                revision,
                at ?? position,
              ]);
            }
            await parkUnfoldable(holder, projector, fold.unfoldable);
            if (identity) await recordFoldedLog(holder, projector, identity);
          }),
        signal,
      );
      return {
        events: fold.events,
        streams: fold.revisions.size,
        position,
        parked: fold.unfoldable.map(failedEvent),
      };
    } catch (error) {
      if (!signal?.aborted) await discardShadows(writer, shadows.values());
      throw error;
    }
  });
}

/** Followers, such as the minute rollup, begin again. The checkpoints of other projectors stay where they are. */
async function takeOver(
  client: pg.Client,
  projector: string,
  projections: readonly Projection[],
  {
    position,
    beginning,
    followers,
  }: {
    readonly position: Position;
    readonly beginning: Position;
    readonly followers: readonly string[];
  },
): Promise<void> {
  await client.query(`delete from projection.folded_log where projector = $1`, [projector]);
  await client.query(`delete from log.snapshots`);
  await client.query(`delete from projection.stream_revisions where projector = $1`, [projector]);
  await client.query(
    `update projection.checkpoints set position = $1, updated_at = clock_timestamp() where projector = any ($2)`,
    [beginning, [projector, ...followers]],
  );
  await client.query(
    `insert into projection.checkpoints (projector, projection, version, position)
     select $4, p.name, p.version, $3 from unnest($1::text[], $2::integer[]) as p (name, version)
     on conflict (projector, projection) do update set version = excluded.version, position = excluded.position`,
    [projections.map(({ name }) => name), projections.map(({ version }) => version), position, projector],
  );
}

/** Every stream in the tables must be in the log at least as far as the tables hold it, unless that was accepted. */
async function mustHoldAll(client: pg.Client, store: ReadableLog, projector: string): Promise<void> {
  const { rows } = await client.query<{ stream_id: string; revision: number }>(
    `select r.stream_id, r.revision
       from projection.stream_revisions r left join projection.parked_streams p using (projector, stream_id)
      where r.projector = $1 and p.accepted_at is null
      order by r.stream_id`,
    [projector],
  );
  for (const { stream_id: streamId, revision } of rows) {
    if (!(await eventAt(store, streamId, revision)))
      throw otherLog(`, and it lacks revision ${revision} of ${streamId}, which they hold`);
  }
}

interface Omitted {
  readonly table: 'parked_streams' | 'discarded_events';
  readonly streamId: string;
  readonly revision: number;
  /** The position of the same event in the new log; undefined if it is not there. */
  readonly position: Position | undefined;
  /** Somebody accepted that it is lost, and it is not in the new log either. */
  readonly isStillLost: boolean;
}

/** Parked and discarded events are identified by stream and revision; their position is shown and compared. */
async function omittedEvents(client: pg.Client, store: ReadableLog, projector: string): Promise<Omitted[]> {
  const found: Omitted[] = [];
  const { accepted } = await loadOmissions(client, projector);
  for (const table of ['parked_streams', 'discarded_events'] as const) {
    const { rows } = await client.query<{ stream_id: string; revision: number; event_id: string }>(
      `select stream_id, revision, event_id from projection.${table} where projector = $1`,
      [projector],
    );
    for (const { stream_id: streamId, revision, event_id: eventId } of rows) {
      const event = await eventAt(store, streamId, revision);
      const position = event?.id.toLowerCase() === eventId ? event.position : undefined;
      const isStillLost = table === 'parked_streams' && accepted.has(streamId) && event === undefined;
      found.push({ table, streamId, revision, position, isStillLost });
    }
  }
  return found;
}

const whereOmitted = 'where projector = $1 and stream_id = $2 and revision = $3';

async function eventAt(
  store: ReadableLog,
  streamId: string,
  revision: number,
): Promise<RecordedEvent | undefined> {
  try {
    for await (const [event] of store.readStream(streamId, { fromRevision: revision, toRevision: revision }))
      if (event?.revision === revision) return event;
  } catch (error) {
    // A stream that others have deleted cannot be read.
    if (!isOfStream(error)) throw error;
  }
  return undefined;
}
