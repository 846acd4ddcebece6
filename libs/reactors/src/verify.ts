import { IsString } from 'class-validator';
import type pg from 'pg';
import { readRows, WaylogError } from '#lib/platform';
import type { ReadableLog } from '#lib/event-store';
import { isOutage } from './failures.js';
import { loadReactor } from './recorded.js';
import { reactorState, type DeclaredReactor } from './states.js';

/** What is not as it should be with a reactor or a deadline. */
export class ReactorProblem {
  @IsString() readonly reactor!: string;
  @IsString() readonly detail!: string;
}

/** A deadline that was not sent for so long after its time, though nobody has paused it, is not on its way. */
const LATE_SECONDS = 60;

/**
 * Whether the records of reactors are of this log: the place of each, and the events that wait; and whether every deadline
 * that has come was sent. What waits, or is parked, is no fault.
 */
export async function verifyReactors(
  pool: pg.Pool,
  all: readonly DeclaredReactor[],
): Promise<ReactorProblem[]> {
  const problems: ReactorProblem[] = [];
  for (const one of all) {
    const found = one.hears ? await ofReactor(pool, one.name, one.hears) : await ofDeadline(pool, one);
    problems.push(...found.map((detail) => ({ reactor: one.name, detail })));
  }
  return problems;
}

async function ofReactor(pool: pg.Pool, name: string, log: ReadableLog): Promise<string[]> {
  const place = await loadReactor(pool, name);
  if (!place) return [];
  const reset = `Say where to go on: \`waylog reactors reset ${name} --to POSITION\`.`;
  const { isOfOtherLog } = await reactorState(pool, { name, version: 0, hears: log });
  if (isOfOtherLog) return [`its position ${place.position} is one of another log. ${reset}`];
  try {
    await log.refuseLost(place.position, place.position);
    if (!(await log.reaches(place.position, Date.parse(place.movedAt))))
      return [`the log ends before its position ${place.position}: it has lost events. ${reset}`];
  } catch (error) {
    // It goes on from where the log went back to by itself.
    if (!(error instanceof WaylogError) || error.code !== 'position.lost') throw error;
  }
  const waiting = await readRows(
    pool,
    undefined,
    `select stream_id, revision, event_id, type from projection.reactions where reactor = $1 and has_failed`,
    [name],
  );
  const problems: string[] = [];
  for (const [streamId, revision, eventId, type] of waiting as string[][]) {
    const at = Number(revision);
    const isThere = await hasEvent(log, streamId as string, at, eventId as string);
    if (!isThere)
      problems.push(
        `it waits with ${streamId ?? ''} for its ${type ?? ''} at revision ${at}, which is no longer in the log`,
      );
  }
  return problems;
}

async function ofDeadline(pool: pg.Pool, declared: DeclaredReactor): Promise<string[]> {
  const { state, lagEvents, lagSeconds } = await reactorState(pool, declared);
  return state !== 'paused' && lagSeconds > LATE_SECONDS
    ? [`${lagEvents} of its commands are due and were not sent, the first for ${lagSeconds.toFixed(0)} s`]
    : [];
}

/** A stream that was deleted, or is damaged, has none. */
async function hasEvent(log: ReadableLog, streamId: string, revision: number, id: string): Promise<boolean> {
  try {
    for await (const page of log.readStream(streamId, { fromRevision: revision, toRevision: revision }))
      if (page.some((event) => event.id.toLowerCase() === id)) return true;
  } catch (error) {
    if (isOutage(error)) throw error;
  }
  return false;
}
