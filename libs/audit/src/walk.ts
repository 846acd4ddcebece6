import { follows, genesis, hashOf, type ChainedEvent, type Head } from './chain.js';
import { explain, type AuditProblem, type Finding } from './explain.js';
import { isUnnamed } from './read-events.js';

/** Gaps in the positions that are told apart, and positions that are taken twice. */
const GAPS = 1_000;

/** No log was in a second history before 2026: nothing below is a time. */
const FIRST_HISTORY_US = 1_760_000_000_000_000n;

/** Rows kept of a stream from where its chain breaks, for the explanation; and of all streams together. */
const KEPT_OF_A_STREAM = 64;
const KEPT = 4_096;

interface Stream {
  /** The last event, by what stands in its row. */
  head: Head;
  /** Where the chain broke first, and what came after. */
  broken?: { readonly good: Head; readonly rows: ChainedEvent[]; readonly digest: number };
}

/**
 * Follows the chains of all streams through the events, which must come in the order of their positions. A stream whose
 * chain has broken is followed on from what stands in its rows, so that one changed event is one problem.
 */
export class ChainWalk {
  readonly #streams = new Map<string, Stream>();
  readonly #gaps: Finding[] = [];
  readonly #twice: Finding[] = [];
  readonly #begun: Finding[] = [];
  #grown = new Set<string>();
  #kept = 0;
  #position: bigint;
  /** When the event there was recorded, or later. */
  #recordedAtUs: bigint;
  /** The number of the digest that covers what comes now, whether it has been taken or not. */
  digest = 1;

  /** `after` is the position before the first event that comes; all up to there was recorded before `sinceUs`. */
  constructor(after: string, sinceUs = FIRST_HISTORY_US) {
    this.#position = BigInt(after);
    this.#recordedAtUs = sinceUs;
  }

  /** Where chains stood before the first event that comes; a stream that nobody knows begins. */
  know(heads: Iterable<readonly [streamId: string, head: Head]>): void {
    for (const [streamId, head] of heads) this.#streams.set(streamId, { head });
  }

  knows(streamId: string): boolean {
    return this.#streams.has(streamId);
  }

  follow(event: ChainedEvent): void {
    const { streamId, revision, hash } = event;
    const position = BigInt(event.position);
    if (position === this.#position && this.#twice.length < GAPS)
      this.#twice.push(twiceFinding(event, this.digest));
    // A row that somebody has tampered with may hold no time at all.
    const recordedAtUs = /^\d+$/.test(event.recordedAtUs) ? BigInt(event.recordedAtUs) : this.#recordedAtUs;
    if (this.#beginsHistory(position, recordedAtUs)) {
      this.#begun.push(historyFinding(this.#position, position, this.digest));
      this.#position = position - 1n;
    }
    this.reach(position - 1n);
    this.#position = position;
    this.#recordedAtUs = recordedAtUs;
    this.#grown.add(streamId);
    let stream = this.#streams.get(streamId);
    if (!stream) this.#streams.set(streamId, (stream = { head: genesis(streamId) }));
    const { head, broken } = stream;
    const isNext = revision === head.revision + 1 && follows(head.hash, event);
    if (broken) this.#keep(broken.rows, event);
    else if (!isNext) {
      stream.broken = { good: head, rows: [], digest: this.digest };
      this.#keep(stream.broken.rows, event);
    }
    // In the order of positions a lower revision may come late; the chain goes on behind the highest.
    if (revision > head.revision) stream.head = { revision, hash };
  }

  /**
   * After a fail-over or a restore the log goes on at a position that is the time in microseconds (migration `log-histories`): one
   * between the events before and behind the gap. No position that was counted up from an earlier one is.
   */
  #beginsHistory(position: bigint, recordedAtUs: bigint): boolean {
    const from = position - 1n;
    return from > this.#position && from >= this.#recordedAtUs && from <= recordedAtUs;
  }

  /** Says that there should have been events up to a position. */
  reach(position: bigint): void {
    if (position <= this.#position) return;
    if (this.#gaps.length < GAPS) this.#gaps.push(gapFinding(this.#position + 1n, position, this.digest));
    this.#position = position;
  }

  /**
   * Where the log goes on in another history behind what any digest covers. Whoever cuts off its end and lets it go on makes
   * such a gap, too, and nothing that is signed says what was before it.
   */
  begunAfterDigests(next: number): Finding[] {
    return this.#begun.filter(({ spoils }) => spoils === next);
  }

  /** The streams that have grown since this was last asked. */
  grown(): ReadonlySet<string> {
    const grown = this.#grown;
    this.#grown = new Set();
    return grown;
  }

  /** Where the events have come to. */
  get position(): bigint {
    return this.#position;
  }

  /** All streams, and where they stand. */
  heads(): Map<string, Head> {
    return new Map([...this.#streams].map(([streamId, { head }]) => [streamId, head]));
  }

  head(streamId: string): Head | undefined {
    return this.#streams.get(streamId)?.head;
  }

  /** How many streams there are. */
  get streams(): number {
    return this.#streams.size;
  }

  /**
   * What is wrong with the chains followed since this was last asked, a problem a stream, by stream. Streams go on from what
   * stands in their rows: what breaks behind that is another problem.
   */
  settle(): Finding[] {
    const found: Finding[] = [];
    const singles: { good: Head; row: ChainedEvent; at: number }[] = [];
    for (const [streamId, stream] of this.#streams) {
      const { broken } = stream;
      if (!broken) continue;
      delete stream.broken;
      const rows = broken.rows.toSorted((a, b) => a.revision - b.revision);
      let { good } = broken;
      // What has been moved before them in the order of positions is wrong, and not those that it was moved before.
      while (rows[0]?.revision === good.revision + 1 && follows(good.hash, rows[0]))
        good = rows.shift() as Head;
      const [row] = rows;
      const problem: AuditProblem = isUnnamed(streamId)
        ? {
            code: 'stream-unnamed',
            streamId,
            detail: 'its events are there, and its name is gone or was another',
          }
        : row
          ? explain(streamId, good, rows)
          : {
              code: 'chain-broken',
              streamId,
              revision: good.revision + 1,
              detail: 'nothing from here on is as it was recorded',
            };
      if (row && problem.code === 'event-changed') singles.push({ good, row, at: found.length });
      found.push({ problem, spoils: broken.digest, coveredFrom: broken.digest });
    }
    this.#kept = 0;
    nameExchanged(found, singles);
    found.sort((a, b) => ((a.problem.streamId ?? '') < (b.problem.streamId ?? '') ? -1 : 1));
    return [...found, ...this.#gaps.splice(0), ...this.#twice.splice(0)];
  }

  #keep(rows: ChainedEvent[], event: ChainedEvent): void {
    if (rows.length >= KEPT_OF_A_STREAM || this.#kept >= KEPT) return;
    rows.push(event);
    this.#kept++;
  }
}

/** An event that is gone from the end of its stream may leave no other trace but its position. */
export const gapFinding = (from: bigint, to: bigint, digest: number): Finding => ({
  problem: {
    code: 'event-removed',
    detail: from === to ? `position ${from} is missing` : `positions ${from} to ${to} are missing`,
  },
  spoils: digest,
  coveredFrom: digest,
  mark: `positions ${from} to ${to}`,
});

/** The log is another one from there on, for good reasons or bad: what was behind `kept` no digest has seen. */
const historyFinding = (kept: bigint, position: bigint, digest: number): Finding => ({
  problem: {
    code: 'history-begun',
    detail: `behind position ${kept} the log went on in another history, at position ${position}, as after a fail-over, a restore, or the loss of its end; no digest says what it held before`,
  },
  spoils: digest,
  coveredFrom: digest,
  mark: `history ${kept} ${position}`,
});

/** One of the two is not what was appended there. */
const twiceFinding = ({ streamId, revision, type, id, position }: ChainedEvent, digest: number): Finding => ({
  problem: {
    code: 'event-inserted',
    streamId,
    revision,
    detail: `the event at revision ${revision} (${type} ${id}) stands at position ${position}, where there is another one`,
  },
  spoils: digest,
  coveredFrom: digest,
});

/** Events of two streams that have taken each other's positions look changed, each by itself. */
function nameExchanged(
  found: Finding[],
  singles: readonly { readonly good: Head; readonly row: ChainedEvent; readonly at: number }[],
): void {
  const some = singles.slice(0, 100);
  for (const a of some) {
    for (const b of some) {
      if (a === b || !hashOf(a.good.hash, { ...a.row, position: b.row.position }).equals(a.row.hash))
        continue;
      const finding = found[a.at] as Finding;
      const detail = `the event at revision ${a.row.revision} has changed places in the log with revision ${b.row.revision} of ${b.row.streamId}`;
      found[a.at] = { ...finding, problem: { ...finding.problem, code: 'events-reordered', detail } };
    }
  }
}
