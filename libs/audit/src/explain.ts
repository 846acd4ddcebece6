import { follows, type ChainedEvent, type Head } from './chain.js';

export type AuditCode =
  | 'event-changed'
  | 'event-removed'
  | 'event-inserted'
  | 'events-reordered'
  | 'chain-broken'
  | 'stream-rewritten'
  | 'stream-removed'
  | 'stream-unnamed'
  | 'log-replaced'
  | 'history-begun'
  | 'key-left'
  | 'key-missing'
  | 'key-swapped'
  | 'snapshot-left'
  | 'digest-removed'
  | 'digest-changed'
  | 'digest-unsigned';

/** Something in the log that no append put there, or that is missing. */
export interface AuditProblem {
  readonly code: AuditCode;
  readonly streamId?: string;
  /** The first revision that is not as it was recorded. */
  readonly revision?: number;
  readonly detail: string;
}

/** A problem, with what a record of a known break needs to identify exactly this problem. */
export interface Finding {
  readonly problem: AuditProblem;
  /** The first digest that does not vouch for the log because of it; absent if the chains are not affected. */
  readonly spoils?: number;
  /** The first digest whose record of a break can cover it; absent if none can, because it is fixed in another way. */
  readonly coveredFrom?: number;
  /** What must be unchanged for it to count as recorded; without one, the rows of its stream as they were found. */
  readonly mark?: string;
}

/** The largest distance of two events at which an exchange, an insertion or a removal is recognised. */
const REACH = 20;

/**
 * Explains what was done to a stream whose chain breaks: `good` is where it last held, `rows` are the events after
 * that, in the order of their revisions, as they are now. Tries explanations from the simplest on, and claims nothing
 * that the hashes do not prove.
 */
export function explain(streamId: string, good: Head, rows: readonly ChainedEvent[]): AuditProblem {
  const [first, second] = rows as [ChainedEvent, ChainedEvent | undefined];
  const at = first.revision;
  const problem = (code: AuditCode, detail: string): AuditProblem => ({
    code,
    streamId,
    revision: good.revision + 1,
    detail,
  });
  const missing = at - good.revision - 1;
  if (missing > 0) {
    return problem('event-removed', `${revisions(good.revision + 1, missing)} missing`);
  }
  const placed = (row: ChainedEvent, revision: number) => ({ ...row, revision });

  for (let i = 1; i <= Math.min(REACH, rows.length - 1); i++) {
    const other = rows[i] as ChainedEvent;
    // Exchanged with their hashes, or their contents alone, or their positions alone.
    const candidates: ChainedEvent[] = [
      placed(other, at),
      { ...other, revision: at, position: first.position, hash: first.hash },
      { ...first, position: other.position },
      { ...other, revision: at, position: first.position },
    ];
    if (!candidates.some((candidate) => follows(good.hash, candidate))) continue;
    if (follows(good.hash, placed(other, at)) && isShift(rows, i)) {
      return problem(
        'event-inserted',
        `${revisions(at, i)} not what was recorded here: what was follows them`,
      );
    }
    return problem('events-reordered', `the events at revisions ${at} and ${at + i} have changed places`);
  }
  if (second) {
    for (let n = 1; n <= REACH; n++) {
      if (follows(first.hash, placed(second, second.revision + n))) {
        return problem(
          'event-removed',
          `${n === 1 ? 'an event' : `${n} events`} that stood at revision ${at} ${n === 1 ? 'is' : 'are'} gone, and what follows was renumbered`,
        );
      }
    }
    if (!follows(first.hash, second)) {
      return problem('chain-broken', `nothing from revision ${at} on is as it was recorded`);
    }
  }
  const { type, id, position } = first;
  const which = `the event at revision ${at} (${type} ${id} at position ${position})`;
  return problem(
    'event-changed',
    good.revision < 0
      ? `${which} is not what was recorded`
      : `${which} is not what was recorded, or the one before it was changed together with its hash`,
  );
}

/** Whether the events from `i` on were `i` revisions earlier: those before them were inserted. */
function isShift(rows: readonly ChainedEvent[], i: number): boolean {
  const [moved, next] = [rows[i] as ChainedEvent, rows[i + 1]];
  // Nothing comes after it, so only the exchange requires the first event to fit after it.
  if (!next) return !follows(moved.hash, { ...(rows[0] as ChainedEvent), revision: moved.revision });
  return follows(moved.hash, { ...next, revision: next.revision - i });
}

const revisions = (from: number, count: number): string =>
  count === 1 ? `revision ${from} is` : `revisions ${from} to ${from + count - 1} are`;
