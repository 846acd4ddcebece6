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
  /** The position up to which the log was accepted as it is; what came after must hold. */
  readonly position: string;
}

interface Covered {
  readonly digest: number;
  readonly position: bigint;
  /** Its streams whose rows are as they were found then. */
  readonly streams: ReadonlySet<string>;
  readonly marks: ReadonlySet<string>;
}

/** The known breaks, and what they cover. */
export class KnownBreaks {
  private constructor(
    readonly recorded: readonly RecordedBreak[],
    private readonly covered: readonly Covered[],
  ) {}

  /** Only a valid signature makes one: otherwise an attacker could declare its own changes known. */
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

  /** Whether a finding belongs to a recorded break, and is still as it was then. */
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

  /** The end of the log for a digest: before its own position if a later break says that the end was cut off. */
  positionOf({ said }: Anchor): bigint {
    return this.covered
      .filter(({ digest }) => digest > said.number)
      .map(({ position }) => position)
      .reduce((least, position) => (position < least ? position : least), BigInt(said.position));
  }

  /** The last digest that records one; 0 if none does. */
  get last(): number {
    return Math.max(0, ...this.covered.map(({ digest }) => digest));
  }
}
