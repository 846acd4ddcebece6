import { createHash } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';
import type { RecordedEvent } from '#lib/event-store';

/**
 * The events that the tables of a projector leave out: those of a parked stream from the one that could not be
 * projected on, and discarded ones. Any other fold of the log leaves out the same events.
 */
export class Omissions {
  constructor(
    /** The first revision that is parked, by stream. */
    readonly parkedFrom: ReadonlyMap<string, number>,
    /** As `stream revision`. */
    private readonly discarded: ReadonlySet<string>,
    /** The parked streams that have lost events, which somebody accepted. */
    readonly accepted: ReadonlySet<string>,
  ) {}

  has({ streamId, revision }: RecordedEvent): boolean {
    if (this.parkedFrom.size === 0 && this.discarded.size === 0) return false;
    return this.isParked(streamId, revision) || this.discarded.has(`${streamId} ${revision}`);
  }

  isParked(streamId: string, revision: number): boolean {
    return revision >= (this.parkedFrom.get(streamId) ?? Infinity);
  }

  /** Whether an event was discarded, so that only the log itself still shows it. */
  isDiscarded({ streamId, revision }: RecordedEvent): boolean {
    return this.discarded.size > 0 && this.discarded.has(`${streamId} ${revision}`);
  }

  /** True if those omissions include these: then what was folded so far is right for both. */
  isWithin(later: Omissions): boolean {
    const sameDiscarded = [...later.discarded].every((key) => this.discarded.has(key));
    return (
      sameDiscarded &&
      [...this.parkedFrom].every(([streamId, revision]) => later.parkedFrom.get(streamId) === revision)
    );
  }

  /** The same text for the same omissions. */
  get fingerprint(): string {
    const parts = [
      ...[...this.parkedFrom].map(([streamId, revision]) => `${streamId} from ${revision}`).sort(),
      ...[...this.discarded].sort(),
    ];
    return createHash('sha256').update(parts.join('\n')).digest('base64url');
  }
}

export async function loadOmissions(client: ClientBase | Pool, projector: string): Promise<Omissions> {
  const { rows } = await client.query<{
    stream_id: string;
    revision: number;
    parked: boolean;
    accepted: boolean;
  }>(
    `select stream_id, revision, true as parked, accepted_at is not null as accepted
       from projection.parked_streams where projector = $1
     union all
     select stream_id, revision, false, false from projection.discarded_events where projector = $1`,
    [projector],
  );
  return new Omissions(
    new Map(rows.filter(({ parked }) => parked).map(({ stream_id, revision }) => [stream_id, revision])),
    new Set(
      rows.filter(({ parked }) => !parked).map(({ stream_id, revision }) => `${stream_id} ${revision}`),
    ),
    new Set(rows.filter(({ accepted }) => accepted).map(({ stream_id }) => stream_id)),
  );
}
