import type { Pool } from 'pg';
import { conflict, inTransaction } from '#lib/platform';
import type { LogProblem, ReadableLog } from '#lib/event-store';
import { announceCheckpoint } from './checkpoints.js';
import { requireSameLog } from './folded-log.js';
import { notParked, parkedStreams, type AcceptedLoss, type ParkedStream } from './parking.js';
import type { Projection } from './projection.js';

export interface AcceptOptions {
  readonly pool: Pool;
  readonly store: ReadableLog;
  readonly projector: string;
  readonly projections: readonly Projection[];
  readonly streamId: string;
  readonly reason: string;
  readonly by: string;
}

/**
 * Accepts that the log has lost events of a parked stream for good. Its rows stay as they are, all folds go on leaving
 * out its events from where it is parked, and no alert or verification counts it any more. Once its events are back, it
 * can be resumed like any parked stream. Throws `projection.not-parked`, and `projection.nothing-lost` if others have
 * not deleted its events.
 */
export async function acceptLoss(options: AcceptOptions): Promise<ParkedStream> {
  const { pool, store, projector, projections, streamId, reason, by } = options;
  const client = await pool.connect();
  try {
    await requireSameLog(client, store, projector);
    await inTransaction(client, async () => {
      const { rows } = await client.query<{ revision: number; last: number }>(
        `select p.revision, r.revision as last
           from projection.parked_streams p join projection.stream_revisions r using (projector, stream_id)
          where p.projector = $1 and p.stream_id = $2 for update of p`,
        [projector, streamId],
      );
      const [parked] = rows;
      if (!parked) throw notParked(streamId);
      const begin = (await store.beginningOf?.(streamId)) ?? 0;
      if (begin <= parked.revision) throw nothingLost(streamId);
      await client.query(
        `update projection.parked_streams
            set accepted_at = clock_timestamp(), accepted_by = $3, accepted_reason = $4, missing_to = $5
          where projector = $1 and stream_id = $2`,
        [projector, streamId, by, reason, Math.min(begin - 1, parked.last)],
      );
      // From `parkings` the projector learns that fewer streams wait for an operator.
      const { rows: checkpoints } = await client.query<{ position: string }>(
        `update projection.checkpoints set parkings = parkings + 1
          where projector = $1 and projection = any ($2) returning position`,
        [projector, projections.map(({ name }) => name)],
      );
      const [checkpoint] = checkpoints;
      if (checkpoint) await announceCheckpoint(client, projector, checkpoint.position);
    });
  } finally {
    client.release();
  }
  const accepted = (await parkedStreams(pool, projector)).find((one) => one.streamId === streamId);
  if (!accepted) throw notParked(streamId);
  return accepted;
}

/** Findings about a stream's lost events, which an acceptance covers. */
const COVERED: ReadonlySet<string> = new Set([
  'stream-gap',
  'stream-cut-short',
  'stream-limit',
  'stream-tombstoned',
]);

/** Without the faults that somebody accepted. */
export const notAccepted = (problems: readonly LogProblem[], accepted: ReadonlySet<string>): LogProblem[] =>
  problems.filter(({ code, streamId }) => !(COVERED.has(code) && accepted.has(streamId ?? '')));

/** For people. */
export const acceptedText = ({ missingTo, acceptedAt, acceptedBy, reason }: AcceptedLoss): string =>
  `its events up to revision ${missingTo} are gone, which ${acceptedBy} accepted ${acceptedAt}: ${reason}`;

const nothingLost = (streamId: string) =>
  conflict(
    'projection.nothing-lost',
    `${streamId} is parked, but the log still has its events: nothing is lost that could be accepted. Retry it once it can be folded, or ` +
      `discard the event that cannot (\`waylog parked --help\`). Nothing was changed.`,
    { streamId },
  );
