import type { DigestStatement, WalkStatement } from './digest.js';

/** The most new events that one digest covers, so that they can be walked again in parts. */
export const SEGMENT = 1_000_000;

/** How many events are walked again with every digest: less than a second's worth. */
const AT_LEAST = 50_000;
/** And for every second since the last one: about a hundredth of what can be walked in it. */
const A_SECOND = 500;

export interface Lap {
  /** The digest after which to continue; 0 for the beginning of the log. */
  readonly from: number;
  /** The digest to reach at least. */
  readonly atLeast: number;
  /** How many events to walk at least. */
  readonly events: bigint;
  readonly walk: Omit<WalkStatement, 'digest'>;
}

/**
 * Which of the already covered events are walked again before the digest after `last`. Digests record how far the lap
 * has come, because only signed statements can be trusted. Two laps fit into a round, so that an event that was walked
 * early in one and late in the next was walked in time.
 */
export function nextLap(
  last: DigestStatement | undefined,
  options: {
    readonly now: Date;
    readonly roundMs: number;
    readonly lastBreak: number;
    /** How many events the digests cover. */
    readonly all: bigint;
  },
): Lap {
  const { roundMs, lastBreak, all } = options;
  const now = options.now.toISOString();
  const whole: Lap = { from: 0, atLeast: last?.number ?? 0, events: all, walk: { began: now, since: now } };
  if (!last?.walk) return whole;
  const elapsed = Math.max(0, options.now.getTime() - Date.parse(last.takenAt));
  const share = BigInt(Math.ceil((Number(all) * 2 * elapsed) / roundMs));
  const some = BigInt(Math.max(AT_LEAST, Math.ceil((elapsed / 1_000) * A_SECOND)));
  const owed = share > some ? share : some;
  if (owed >= all) return whole;
  const isDone = last.walk.digest >= last.number;
  const from = isDone ? 0 : last.walk.digest;
  const walk = isDone
    ? { began: now, since: last.walk.began }
    : { began: last.walk.began, since: last.walk.since };
  const isLate = options.now.getTime() - Date.parse(walk.began) > roundMs / 2;
  return {
    from,
    // The heads of digests before a break may be part of the damage: up to it, the walk begins at the beginning.
    atLeast: isLate ? last.number : lastBreak,
    events: isLate ? all : owed,
    walk,
  };
}
