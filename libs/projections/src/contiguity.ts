import { unavailable } from '#lib/platform';
import type { RecordedEvent } from '#lib/event-store';

export interface Gap {
  readonly revision: number;
  readonly expected: number;
}

/**
 * Checks that no event of a stream is skipped: each revision must follow the last one that was folded. After a gap the
 * tables would be incomplete, so it stops the projector instead.
 */
export class Contiguity {
  readonly #last = new Map<string, number>();

  constructor(private readonly projector: string) {}

  /** Streams of these events whose last folded revision is not known here yet. */
  unknownStreams(events: readonly RecordedEvent[]): string[] {
    return [...new Set(events.map(({ streamId }) => streamId))].filter(
      (streamId) => !this.#last.has(streamId),
    );
  }

  /** Adds a revision that is known from elsewhere, such as the database; -1 for a stream that was never folded. */
  know(streamId: string, revision: number): void {
    this.#last.set(streamId, revision);
  }

  /** As `know`, for a stream of which nothing is known. */
  meet(streamId: string, revision: number): void {
    if (!this.#last.has(streamId)) this.#last.set(streamId, revision);
  }

  /** The last revision of each stream that is known. */
  get revisions(): ReadonlyMap<string, number> {
    return this.#last;
  }

  /**
   * Checks a batch and returns the last revision of each of its streams. `lost` streams can skip some: that has been
   * investigated, and they are no longer written. Throws `projection.gap`.
   */
  advance(events: readonly RecordedEvent[], lost?: ReadonlySet<string>): Map<string, number> {
    const moved = new Map<string, number>();
    for (const { streamId, revision, position } of events) {
      const last = this.#last.get(streamId) ?? -1;
      if (revision !== last + 1 && !(revision > last && lost?.has(streamId))) {
        throw unavailable(
          'projection.gap',
          `Projector ${this.projector} read revision ${revision} of ${streamId} at position ${position}, but revision ` +
            `${last + 1} comes next. The log or the projector's records are damaged; nothing was written. ` +
            `Compare the stream (\`waylog log export --stream ${streamId}\`) with projection.stream_revisions.`,
          { streamId, revision, expected: last + 1 },
        );
      }
      this.#last.set(streamId, revision);
      moved.set(streamId, revision);
    }
    return moved;
  }

  /** Streams of which a batch skips a revision, each with the actual and the expected one. */
  gaps(events: readonly RecordedEvent[]): Map<string, Gap> {
    const gaps = new Map<string, Gap>();
    const last = new Map<string, number>();
    for (const { streamId, revision } of events) {
      const expected = (last.get(streamId) ?? this.#last.get(streamId) ?? -1) + 1;
      if (revision !== expected && !gaps.has(streamId)) gaps.set(streamId, { revision, expected });
      last.set(streamId, revision);
    }
    return gaps;
  }

  /** Forgets everything, after a batch that was not written. */
  reset(): void {
    this.#last.clear();
  }

  get size(): number {
    return this.#last.size;
  }
}
