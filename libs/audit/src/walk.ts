import { follows, genesis, hashOf, type ChainedEvent, type Head } from './chain.js';
import { explain, type AuditProblem, type Finding } from './explain.js';
import { isUnnamed } from './read-events.js';

/** The most gaps in positions, and positions used twice, that are reported one by one. */
const GAPS = 1_000;

/** No log was in a second history before 2026: a smaller position is not a time. */
const FIRST_HISTORY_US = 1_760_000_000_000_000n;

/** The rows kept of a stream from where its chain breaks, for the explanation; and of all streams together. */
const KEPT_OF_A_STREAM = 64;
const KEPT = 4_096;

interface Stream {
  /** The hash of the last event, computed from its row. */
  head: Head;
  /** Where the chain broke first, and what came after. */
  broken?: { readonly good: Head; readonly rows: ChainedEvent[]; readonly digest: number };
}

/**
 * Follows the chains of all streams through the events, which must come in the order of their positions. After a break
 * the walk continues from what is in the rows of the stream, so that one changed event is one problem.
 */
export class ChainWalk {
  readonly #streams = new Map<string, Stream>();
  readonly #gaps: Finding[] = [];
  readonly #twice: Finding[] = [];
  readonly #begun: Finding[] = [];
  #grown = new Set<string>();
  #kept = 0;
  #position: bigint;
  /** The event there was recorded at this time or later. */
  #recordedAtUs: bigint;
  /** The number of the digest that covers what comes now, taken or not. */
  digest = 1;

  /** `after` is the position before the first event that comes; everything up to it was recorded before `sinceUs`. */
  constructor(after: string, sinceUs = FIRST_HISTORY_US) {
    this.#position = BigInt(after);
    this.#recordedAtUs = sinceUs;
  }

  /** Where chains were before the first event that comes; an unknown stream starts at its beginning. */
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
    // A row that was tampered with may hold no valid time.
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
    // In the order of positions a lower revision can come late; the chain continues after the highest.
    if (revision > head.revision) stream.head = { revision, hash };
  }

  /**
   * After a fail-over or a restore the log continues at a position that is the time in microseconds (migration
   * `log-histories`), between the events before and after the gap. A position counted up from an earlier one is never
   * such a time.
   */
  #beginsHistory(position: bigint, recordedAtUs: bigint): boolean {
    const from = position - 1n;
    return from > this.#position && from >= this.#recordedAtUs && from <= recordedAtUs;
  }

  /** Notes that there should have been events up to a position. */
  reach(position: bigint): void {
    if (position <= this.#position) return;
    if (this.#gaps.length < GAPS) this.#gaps.push(gapFinding(this.#position + 1n, position, this.digest));
    this.#position = position;
  }

  /**
   * Where the log continues in another history after what any digest covers. An attacker who cuts off its end and lets
   * it continue makes such a gap too, and nothing signed says what was before it.
   */
  begunAfterDigests(next: number): Finding[] {
    return this.#begun.filter(({ spoils }) => spoils === next);
  }

  /** The streams that have grown since the last call. */
  grown(): ReadonlySet<string> {
    const grown = this.#grown;
    this.#grown = new Set();
    return grown;
  }

  /** The position that the walk has reached. */
  get position(): bigint {
    return this.#position;
  }

  /** All streams, and the head of each chain. */
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
   * The problems of the chains followed since the last call, one problem per stream, by stream. The walk of a stream
   * continues from what is in its rows: a later break is another problem.
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
      // The event that was moved ahead in the order of positions is wrong, not those that it was moved ahead of.
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

/** If an event is missing from the end of its stream, the position may be the only trace. */
export const gapFinding = (from: bigint, to: bigint, digest: number): Finding => ({
  problem: {
    code: 'event-removed',
    detail: from === to ? `position ${from} is missing` : `positions ${from} to ${to} are missing`,
  },
  spoils: digest,
  coveredFrom: digest,
  mark: `positions ${from} to ${to}`,
});

/** From there on the log is another one, for good reasons or bad: no digest covers what was after `kept`. */
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

/** If events of two streams swap positions, each of them looks changed. */
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
