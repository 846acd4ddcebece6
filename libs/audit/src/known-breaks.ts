import type { ClientBase } from 'pg';
import type { Timestamp } from '#lib/platform';
import type { KnownBreak } from './digest.js';
import type { Anchor } from './digest-checks.js';
import type { Finding } from './explain.js';
import { streamAsFound } from './read-events.js';

/** A break that a digest has recorded. */
export interface RecordedBreak extends Pick<KnownBreak, 'by' | 'why' | 'problems'> {
  readonly digest: number;
  readonly recordedAt: Timestamp;
  /** Up to where the log was taken as it is; what came after must hold. */
  readonly position: string;
}

interface Covered {
  readonly digest: number;
  readonly position: bigint;
  /** The streams of it whose rows are as they were found then. */
  readonly streams: ReadonlySet<string>;
  readonly marks: ReadonlySet<string>;
}

/** The breaks that are known, and what they cover. */
export class KnownBreaks {
  private constructor(
    readonly recorded: readonly RecordedBreak[],
    private readonly covered: readonly Covered[],
  ) {}

  /** Only a good signature makes one: else anybody could declare known what he has done. */
  static async of(client: ClientBase, anchors: readonly Anchor[]): Promise<KnownBreaks> {
    const recorded: RecordedBreak[] = [];
    const covered: Covered[] = [];
    for (const { said, isSigned } of anchors) {
      if (!said.break || !isSigned) continue;
      const { by, why, problems, streams, marks } = said.break;
      const { number: digest, takenAt: recordedAt, position } = said;
      recorded.push({ digest, recordedAt, position, by, why, problems });
      const same = new Set<string>();
      for (const { streamId, upTo, found } of streams)
        if ((await streamAsFound(client, streamId, upTo)) === found) same.add(streamId);
      covered.push({ digest, position: BigInt(position), streams: same, marks: new Set(marks) });
    }
    return new KnownBreaks(recorded, covered);
  }

  /** Whether a finding is of a break that was recorded, and is still what it was then. */
  covers({ problem, coveredFrom, mark }: Finding): boolean {
    if (coveredFrom === undefined) return false;
    return this.covered.some(
      ({ digest, marks, streams }) =>
        digest >= coveredFrom &&
        (mark === undefined
          ? problem.streamId !== undefined && streams.has(problem.streamId)
          : marks.has(mark)),
    );
  }

  /** Where the log stood for a digest: before its own position, where a later break says that the end was cut off. */
  positionOf({ said }: Anchor): bigint {
    return this.covered
      .filter(({ digest }) => digest > said.number)
      .map(({ position }) => position)
      .reduce((least, position) => (position < least ? position : least), BigInt(said.position));
  }

  /** The last digest that records one; 0 where none does. */
  get last(): number {
    return Math.max(0, ...this.covered.map(({ digest }) => digest));
  }
}
