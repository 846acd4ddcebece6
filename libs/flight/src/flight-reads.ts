import { inTurns, StreamReads, type ReadOptions } from '#lib/waylog';
import type { Row, TableRead } from '#lib/projections';
import { knownDays, selectRecorded } from './days/select-recorded.js';

/** Reads of route chunks at a time: those of a flight may be as large as an answer can be. Others do not wait for them. */
const MAX_CHUNK_READS = 2;
const MAX_WAITING_CHUNK_READS = 60;

/** The source of the rows for queries of the flight context. */
export class FlightReads extends StreamReads {
  readonly #knownDays = knownDays();
  /** Route chunks, when their turn comes. Throws `reads.overloaded`. */
  readonly chunks = inTurns(
    MAX_CHUNK_READS,
    MAX_WAITING_CHUNK_READS,
    `${MAX_WAITING_CHUNK_READS} reads of route chunks wait for their turn already, ${MAX_CHUNK_READS} run at a time. Try again in a moment.`,
  );

  /** The rows of a flight in one of the hypertables; like `of`. */
  recorded(flightId: string, options: ReadOptions, read: Omit<TableRead, 'where'>): Promise<Row[]> {
    return this.of(flightId, options, (source) => selectRecorded(source, this.#knownDays, flightId, read));
  }
}
