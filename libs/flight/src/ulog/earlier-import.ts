import { parseTimestamp, type Timestamp } from '#lib/platform';
import type { EventStore } from '#lib/event-store';
import type { FlightDetails } from '../events.js';
import { flightStreams } from '../events.js';

/** What the log has of a flight that is to be imported. */
export interface EarlierImport {
  /** How often the flight was deleted; after that an import begins anew. */
  readonly deletions: number;
  /** How the flight that there is now came to be; undefined where there is none. */
  readonly creation?: {
    readonly commandId: string;
    /** When the flight began and how that was known, where an import says so. */
    readonly startedAt?: Timestamp;
    readonly clock?: string;
  };
}

export const NO_EARLIER_IMPORT: EarlierImport = { deletions: 0 };

/** Reads what an import must know of the flight's earlier ones, from its whole stream. */
export async function earlierImport(
  store: Pick<EventStore, 'readStream'>,
  flightId: string,
): Promise<EarlierImport> {
  let earlier = NO_EARLIER_IMPORT;
  for await (const page of store.readStream(flightStreams.streamOf(flightId))) {
    for (const { type, data, metadata } of page) {
      if (type === 'FlightDeleted') earlier = { deletions: earlier.deletions + 1 };
      if (type !== 'FlightCreated') continue;
      const { startedAt, clock } = (data as FlightDetails).cameraParams;
      const began = typeof startedAt === 'string' ? parseTimestamp(startedAt) : undefined;
      earlier = {
        deletions: earlier.deletions,
        creation: {
          commandId: metadata.commandId,
          ...(began !== undefined && { startedAt: began }),
          ...(typeof clock === 'string' && { clock }),
        },
      };
    }
  }
  return earlier;
}
