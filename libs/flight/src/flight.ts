import { isDeepStrictEqual } from 'node:util';
import { deciderOf, PackedMap, type StateMap } from '#lib/event-store';
import { conflict, notFound } from '#lib/platform';
import type {
  FlightDetails,
  FlightEvent,
  FrameData,
  GeofenceData,
  HeadingData,
  ImageContent,
  ImageData,
  ProcessingState,
  RouteChunk,
  WaypointData,
} from './events.js';
import { framePacking, headingPacking } from './packings.js';

/** The state of a flight for decisions: the fold of its stream. `details` is undefined if there is no flight. */
export interface Flight {
  details: FlightDetails | undefined;
  /** Whether the stream is empty, holds a flight (possibly deleted since), or one that was erased. */
  history: 'none' | 'recorded' | 'erased';
  processing: ProcessingState | undefined;
  readonly waypoints: StateMap<string, WaypointData>;
  readonly geofences: StateMap<string, GeofenceData>;
  readonly frames: StateMap<number, FrameData>;
  readonly headings: StateMap<number, HeadingData>;
  readonly images: StateMap<number, ImageData>;
  readonly contents: StateMap<number, ImageContent>;
  readonly chunks: StateMap<string, RouteChunk>;
  /** The days (UTC) of its frames and headings since it was created: as many TimescaleDB chunks at most. */
  days: readonly string[];
}

export const noFlight = (): Flight => ({
  details: undefined,
  history: 'none',
  processing: undefined,
  waypoints: new Map(),
  geofences: new Map(),
  frames: new PackedMap(framePacking),
  headings: new PackedMap(headingPacking),
  images: new Map(),
  contents: new Map(),
  chunks: new Map(),
  days: [],
});

/** Folds one event. It replaces values and never changes one in place: forks share them. */
export function evolve(flight: Flight, event: FlightEvent): Flight {
  switch (event.type) {
    case 'FlightCreated':
    case 'FlightUpdated':
      flight.details = event.data;
      flight.history = 'recorded';
      return flight;
    case 'FlightDeleted':
      return { ...noFlight(), history: flight.history };
    case 'FlightErased':
      return {
        ...flight,
        details: event.data.details ?? undefined,
        images: noFlight().images,
        contents: noFlight().contents,
        history: 'erased',
      };
    case 'GeofenceAdded':
    case 'GeofenceUpdated':
      flight.geofences.set(event.data.id, event.data);
      return flight;
    case 'GeofenceRemoved':
      flight.geofences.delete(event.data.id);
      return flight;
    case 'WaypointAdded':
    case 'WaypointUpdated':
      flight.waypoints.set(event.data.id, event.data);
      return flight;
    case 'FlightStateSaved':
      flight.processing = event.data;
      return flight;
    case 'FrameResultSaved':
      flight.frames.set(event.data.frameId, withoutSupersedes(event.data));
      flight.days = withDay(flight.days, event.data.timestamp);
      return flight;
    case 'HeadingSaved':
      flight.headings.set(event.data.frameId, withoutSupersedes(event.data));
      flight.days = withDay(flight.days, event.data.timestamp);
      return flight;
    case 'ImageMetadataSaved':
      flight.images.set(event.data.frameId, event.data);
      return flight;
    case 'ImageContentStored':
      flight.contents.set(event.data.frameId, event.data);
      return flight;
    case 'ImageRemoved':
      flight.images.delete(event.data.frameId);
      flight.contents.delete(event.data.frameId);
      return flight;
    case 'ChunkStateSaved':
      flight.chunks.set(event.data.chunkId, event.data);
      return flight;
    case 'ChunkMerged':
      flight.chunks.delete(event.data.chunkId);
      flight.chunks.set(event.data.into.chunkId, event.data.into);
      return flight;
    case 'ChunkDeleted':
      flight.chunks.delete(event.data.chunkId);
      return flight;
  }
}

function withDay(days: readonly string[], timestamp: unknown): readonly string[] {
  // The log can contain anything.
  const day = String(timestamp).slice(0, 10);
  return days.at(-1) === day || days.includes(day) ? days : [...days, day];
}

/**
 * Throws `flight.too-many-days` if events would put the flight's frames and headings on more days than allowed. Every
 * week is a chunk of two hypertables, for as long as it is kept, and every read of all flights opens it.
 */
export function refuseTooManyDays(
  flight: Flight,
  flightId: string,
  events: readonly FlightEvent[],
  most: number,
): void {
  let days = flight.days;
  for (const event of events) {
    if (event.type === 'FlightDeleted') days = [];
    if (event.type === 'FrameResultSaved' || event.type === 'HeadingSaved')
      days = withDay(days, event.data.timestamp);
  }
  if (days.length <= most || days === flight.days) return;
  const others = [...flight.days].sort();
  const known = others.length > 0 ? ` So far they are from ${others[0]} to ${others.at(-1)}.` : '';
  throw conflict(
    'flight.too-many-days',
    `Flight ${flightId} would have frames and headings on ${days.length} different days (UTC), ${days.at(-1)} among them; a ` +
      `flight may have them on ${most} (WAYLOG_FLIGHT_DAYS).${known} Nothing was recorded. Most likely a clock or a unit is ` +
      `wrong: send the right times, or make several flights of it.`,
    { flightId, days: days.length, most },
  );
}

/** Only the tables need the time that was replaced. */
function withoutSupersedes<T extends object>(data: T & { readonly supersedes?: unknown }): T {
  if (!('supersedes' in data)) return data;
  const { supersedes: _, ...rest } = data;
  return rest as unknown as T;
}

export const flightDecider = deciderOf<Flight, FlightEvent>({
  version: 3,
  initialState: noFlight,
  evolve,
  // Measured; for typical images and route chunks.
  bytes: { waypoints: 220, geofences: 230, images: 400, contents: 350, chunks: 600, days: 40 },
});

export interface ExistingFlight extends Flight {
  readonly details: FlightDetails;
}

/** The flight, if there is one that can be changed. Throws `flight.not-found` and `flight.erased`. */
export function existing(flight: Flight, flightId: string): ExistingFlight {
  if (!flight.details) throw flightNotFound(flightId);
  refuseErased(flight, flightId);
  return flight as ExistingFlight;
}

/** Throws `flight.erased`. */
export function refuseErased({ history }: Flight, flightId: string): void {
  if (history !== 'erased') return;
  throw conflict(
    'flight.erased',
    `Flight ${flightId} was erased: it can be read and deleted, and nothing is added to it. Use another id.`,
    { flightId },
  );
}

export const flightNotFound = (flightId: string) =>
  notFound('flight.not-found', `There is no flight ${flightId}. Create it first, or check the id.`, {
    flightId,
  });

/** True if two values are the same JSON except for the named fields: a repeat that changes nothing. */
export function same<T extends object>(a: T | undefined, b: T, ...except: (keyof T)[]): boolean {
  if (!a) return false;
  const ignored = new Set<PropertyKey>(['supersedes', ...except]);
  const keys = (value: object) => Object.keys(value).filter((key) => !ignored.has(key));
  return (
    keys(a).length === keys(b).length &&
    keys(b).every(
      (key) =>
        Object.hasOwn(a, key) &&
        isDeepStrictEqual((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
    )
  );
}
