import { follows, genesis, hashOf, type ChainedEvent, type Head } from './chain.js';
import { explain, type AuditProblem } from './explain.js';
import { isUnnamed } from './read-events.js';

/** Rows kept of a stream from where its chain breaks, for the explanation; and of all streams together. */
const KEPT_OF_A_STREAM = 64;
const KEPT = 4_096;

interface Stream {
  /** The last event, by what stands in its row. */
  head: Head;
  /** Where the chain broke first, and what came after. */
  broken?: { readonly good: Head; readonly rows: ChainedEvent[] };
}

/**
 * Follows the chains of all streams through the events, which must come in the order of their positions. A stream whose
 * chain has broken is followed on from what stands in its rows, so that one changed event is one problem.
 */
export class ChainWalk {
  readonly #streams = new Map<string, Stream>();
  #kept = 0;
  #position: bigint;
  #gap: string | undefined;

  /** `after` is the position before the first event that comes. */
  constructor(after: string) {
    this.#position = BigInt(after);
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
    if (position !== this.#position + 1n)
      this.#gap ??= `positions ${this.#position + 1n} to ${position - 1n} are missing`;
    this.#position = position;
    let stream = this.#streams.get(streamId);
    if (!stream) this.#streams.set(streamId, (stream = { head: genesis(streamId) }));
    const { head, broken } = stream;
    const isNext = revision === head.revision + 1 && follows(head.hash, event);
    if (broken) this.#keep(broken.rows, event);
    else if (!isNext) {
      stream.broken = { good: head, rows: [] };
      this.#keep(stream.broken.rows, event);
    }
    // In the order of positions a lower revision may come late; the chain goes on behind the highest.
    if (revision > head.revision) stream.head = { revision, hash };
  }

  head(streamId: string): Head | undefined {
    return this.#streams.get(streamId)?.head;
  }

  /** How many streams there are. */
  get streams(): number {
    return this.#streams.size;
  }

  /** What is wrong with the chains followed so far, a problem a stream, by stream. */
  problems(): AuditProblem[] {
    const problems: AuditProblem[] = [];
    const singles: { good: Head; row: ChainedEvent; problem: AuditProblem }[] = [];
    for (const [streamId, { broken }] of this.#streams) {
      if (!broken) continue;
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
      problems.push(problem);
      if (row && problem.code === 'event-changed') singles.push({ good, row, problem });
    }
    const named = this.#exchanged(problems, singles).sort((a, b) =>
      (a.streamId ?? '') < (b.streamId ?? '') ? -1 : 1,
    );
    // An event that is gone from the end of its stream leaves no other trace but this.
    return this.#gap && !named.some(({ code }) => code === 'event-removed')
      ? [...named, { code: 'event-removed', detail: this.#gap }]
      : named;
  }

  /** Events of two streams that have taken each other's positions look changed, each by itself. */
  #exchanged(
    problems: AuditProblem[],
    singles: readonly { good: Head; row: ChainedEvent; problem: AuditProblem }[],
  ): AuditProblem[] {
    const some = singles.slice(0, 100);
    for (const a of some) {
      for (const b of some) {
        if (a === b || !hashOf(a.good.hash, { ...a.row, position: b.row.position }).equals(a.row.hash))
          continue;
        const i = problems.indexOf(a.problem);
        problems[i] = {
          ...a.problem,
          code: 'events-reordered',
          detail: `the event at revision ${a.row.revision} has changed places in the log with revision ${b.row.revision} of ${b.row.streamId}`,
        };
      }
    }
    return problems;
  }

  #keep(rows: ChainedEvent[], event: ChainedEvent): void {
    if (rows.length >= KEPT_OF_A_STREAM || this.#kept >= KEPT) return;
    rows.push(event);
    this.#kept++;
  }
}
