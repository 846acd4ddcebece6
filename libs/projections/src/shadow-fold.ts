import type pg from 'pg';
import { conflict, isTooMuch, messageOf } from '#lib/platform';
import type { ReadableLog, Position, RecordedEvent } from '#lib/event-store';
import { BatchSize } from './batch-size.js';
import { Contiguity, type Gap } from './contiguity.js';
import { isPoison, writeBatch, writeCarefully, type Poison, type TableWriters } from './careful-fold.js';
import { lostBeginnings } from './lost-events.js';
import { loadOmissions, Omissions } from './omissions.js';
import { parkStream } from './parking.js';
import type { Projection } from './projection.js';
import type { Shadow } from './shadow-table.js';
import { TableWriter } from './table-writer.js';

/** How far a fold into shadow tables has come. */
export interface FoldProgress {
  readonly position: Position;
  readonly events: number;
}

export interface ShadowFoldOptions {
  /** The projector whose parked and discarded events are left out. */
  readonly projector: string;
  readonly store: ReadableLog;
  readonly batchSize?: number | undefined;
  /** Called after each batch with the number of folded events. */
  readonly onProgress?: ((events: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Leaves out a stream that lacks an event, from there on, and names it; otherwise the fold ends there. */
  readonly passesGaps?: boolean;
  /**
   * Records the progress of the fold, in the transaction that writes the batch; and whether an event could not be
   * folded.
   */
  readonly record?: (client: pg.ClientBase, progress: FoldProgress, isWhole: boolean) => Promise<void>;
}

/** How often a single event that is too much for the database is tried. */
const ATTEMPTS_ALONE = 3;

/**
 * Folds the log into shadows of several tables at once, reading it once. An event that cannot be folded is left out
 * with the later ones of its stream, as the projector does, and named; the caller decides what to do about it.
 */
export class ShadowFold {
  readonly #writers: TableWriters;
  readonly #contiguity: Contiguity;
  readonly #batchSize: BatchSize;
  #position: Position;
  #events: number;
  #omissions: Omissions | undefined;
  readonly #unfoldable = new Map<string, Poison>();
  readonly #gaps = new Map<string, Gap>();

  constructor(
    private readonly client: pg.Client,
    shadows: ReadonlyMap<Projection, Shadow>,
    private readonly options: ShadowFoldOptions,
    /** Where an earlier fold into the same shadow tables was interrupted. */
    private readonly resumed?: FoldProgress,
  ) {
    this.#position = resumed?.position ?? options.store.beginning;
    this.#events = resumed?.events ?? 0;
    this.#writers = new Map(
      [...shadows].map(([projection, { schema }]) => [projection, new TableWriter(projection.table, schema)]),
    );
    this.#contiguity = new Contiguity(`fold beside ${options.projector}`);
    this.#batchSize = new BatchSize(options.batchSize ?? 5_000);
  }

  get events(): number {
    return this.#events;
  }

  /** The last revision of each stream that this fold has seen; unknown for a resumed fold. */
  get revisions(): ReadonlyMap<string, number> {
    return this.#contiguity.revisions;
  }

  /** The first event of each stream that could not be folded, and is neither parked nor discarded. */
  get unfoldable(): readonly Poison[] {
    return [...this.#unfoldable.values()];
  }

  /** Streams that lack an event, and that were left out from there on. */
  get gaps(): ReadonlyMap<string, Gap> {
    return this.#gaps;
  }

  /**
   * Continues the fold up to a checkpoint of the projector. False if the events to leave out have changed so that the
   * fold so far is wrong: a parked stream was resumed, or one of its events was discarded.
   */
  async upTo(end: Position): Promise<boolean> {
    const { store, projector, signal } = this.options;
    // Read after the checkpoint: it includes what was parked up to there, and what is parked later comes after it.
    const omissions = await loadOmissions(this.client, projector);
    if (this.#omissions && !this.#omissions.isWithin(omissions)) return false;
    this.#omissions = omissions;
    while (store.compare(this.#position, end) < 0) {
      signal?.throwIfAborted();
      const page = await store.readAll({ after: this.#position, limit: this.#batchSize.now });
      const batch = page.filter((event) => store.compare(event.position, end) <= 0);
      if (batch.length === 0) return true;
      // A resumed fold knows nothing of the streams that came before it.
      if (this.resumed) {
        for (const { streamId, revision } of batch) this.#contiguity.meet(streamId, revision - 1);
      }
      await this.#write(batch, omissions);
    }
    return true;
  }

  readonly #isWhole = ({ streamId, revision }: RecordedEvent): boolean =>
    revision < (this.#gaps.get(streamId)?.expected ?? Infinity);

  /** Leaves out streams whose beginning others have deleted, and returns which events in this batch skip a revision. */
  async #passLost(batch: readonly RecordedEvent[], omissions: Omissions): Promise<ReadonlySet<string>> {
    const lost = await lostBeginnings(this.options.store, this.#contiguity.gaps(batch), batch);
    for (const poison of lost) {
      const { streamId } = poison.event;
      // Accepted, and left out from there on or from an earlier event.
      const isKnown = omissions.accepted.has(streamId) && omissions.isParked(streamId, poison.lostFrom ?? 0);
      if (!isKnown && !this.#unfoldable.has(streamId)) this.#unfoldable.set(streamId, poison);
    }
    return new Set(lost.map(({ event }) => event.streamId));
  }

  /** Whether an event comes after one that cannot be folded, in its stream. */
  readonly #isBehind = ({ streamId, revision }: RecordedEvent): boolean => {
    const poison = this.#unfoldable.get(streamId);
    return poison !== undefined && revision >= (poison.lostFrom ?? poison.event.revision);
  };

  /** One transaction; or several, if one was too much for the database. */
  async #write(batch: readonly RecordedEvent[], omissions: Omissions): Promise<void> {
    if (this.options.passesGaps)
      for (const [streamId, gap] of this.#contiguity.gaps(batch.filter(this.#isWhole)))
        this.#gaps.set(streamId, gap);
    const lost = this.options.passesGaps ? undefined : await this.#passLost(batch, omissions);
    this.#contiguity.advance(batch.filter(this.#isWhole), lost);
    let failuresAlone = 0;
    for (let rest = batch; rest.length > 0;) {
      const part = rest.slice(0, this.#batchSize.now);
      const began = performance.now();
      try {
        await this.#writePart(part, omissions);
      } catch (error) {
        if (!isTooMuch(error)) throw error;
        await this.client.query('rollback');
        this.#batchSize.wasTooMuch(part.length);
        const [event] = part;
        if (part.length === 1 && event && ++failuresAlone === ATTEMPTS_ALONE)
          throw unfoldable([{ event, error: messageOf(error) }]);
        continue;
      }
      this.#batchSize.wentWell(performance.now() - began);
      failuresAlone = 0;
      rest = rest.slice(part.length);
    }
  }

  async #writePart(part: readonly RecordedEvent[], omissions: Omissions): Promise<void> {
    const { onProgress, record, signal } = this.options;
    signal?.throwIfAborted();
    await this.client.query('begin');
    const kept = part.filter(
      (event) => this.#isWhole(event) && !omissions.has(event) && !this.#isBehind(event),
    );
    let found: readonly Poison[] = [];
    try {
      await writeBatch(this.client, this.#writers, kept);
    } catch (error) {
      if (!isPoison(error)) throw error;
      await this.client.query('rollback; begin');
      found = await writeCarefully(this.client, this.#writers, kept);
    }
    const position = part.at(-1)?.position ?? this.#position;
    const progress = { position, events: this.#events + part.length };
    await record?.(this.client, progress, found.length + this.#unfoldable.size === 0);
    await this.client.query('commit');
    for (const poison of found) this.#unfoldable.set(poison.event.streamId, poison);
    this.#position = progress.position;
    this.#events = progress.events;
    onProgress?.(this.#events);
  }
}

/** More streams than this are not parked at once: the fold or the table is then wrong, not the events. */
const MAX_PARKED_AT_ONCE = 100;

/**
 * Parks the streams that a fold had to leave out, in the transaction that swaps its tables in: they hold these streams
 * only up to there. Throws `projection.unfoldable` if there are too many for the events to be at fault.
 */
export async function parkUnfoldable(
  client: pg.ClientBase,
  projector: string,
  found: readonly Poison[],
): Promise<void> {
  const poisonous = found.filter(({ lostFrom }) => lostFrom === undefined);
  if (poisonous.length > MAX_PARKED_AT_ONCE) throw unfoldable(poisonous);
  for (const poison of found) await parkStream(client, projector, poison);
}

const unfoldable = (found: readonly Poison[]) => {
  const [{ event, error }] = found as [Poison];
  return conflict(
    'projection.unfoldable',
    `The ${event.type} at position ${event.position} (${event.streamId}, revision ${event.revision}) cannot be folded: ` +
      `${error}.${found.length > 1 ? ` Nor can events of ${found.length - 1} other streams.` : ''} The live tables have not ` +
      `changed. Mend the fold or the table, and try again.`,
    { streamId: event.streamId, revision: event.revision, streams: found.length },
  );
};
