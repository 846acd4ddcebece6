import { Category, type JsonObject } from '#lib/event-store';
import type { Timestamp } from '#lib/platform';

// Plain data, as in the log. Every event holds everything that it changes, so that a fold need not look back.

export interface Point extends JsonObject {
  readonly lat: number;
  readonly lon: number;
}

export interface FlightDetails extends JsonObject {
  readonly name: string;
  readonly description: string;
  readonly startGps: Point;
  readonly altitude: number;
  readonly cameraParams: JsonObject;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

export interface WaypointData extends JsonObject {
  readonly id: string;
  readonly lat: number;
  readonly lon: number;
  readonly altitude: number | null;
  readonly confidence: number;
  readonly timestamp: Timestamp;
  readonly refined: boolean;
}

export interface GeofenceData extends JsonObject {
  readonly id: string;
  readonly northWest: Point;
  readonly southEast: Point;
}

export interface ProcessingState extends JsonObject {
  readonly status: string;
  readonly framesProcessed: number;
  readonly framesTotal: number;
  readonly currentFrame: number | null;
  readonly blocked: boolean;
  readonly searchGridSize: number | null;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

export interface FrameData extends JsonObject {
  readonly frameId: number;
  readonly gpsCenter: Point;
  readonly altitude: number;
  readonly heading: number;
  readonly confidence: number;
  readonly refined: boolean;
  readonly timestamp: Timestamp;
  readonly updatedAt: Timestamp;
}

export interface HeadingData extends JsonObject {
  readonly frameId: number;
  readonly heading: number;
  readonly timestamp: Timestamp;
}

export interface ImageData extends JsonObject {
  readonly frameId: number;
  readonly filePath: string;
  readonly metadata: JsonObject;
  readonly uploadedAt: Timestamp;
}

/** The bytes of an image: a file that is kept with the others. */
export interface ImageContent extends JsonObject {
  readonly frameId: number;
  readonly sha256: string;
  readonly size: number;
  /** What its first bytes say that it is, such as `image/jpeg`. */
  readonly type: string;
  readonly storedAt: Timestamp;
}

export interface RouteChunk extends JsonObject {
  readonly chunkId: string;
  readonly startFrameId: number;
  readonly endFrameId: number | null;
  readonly frames: readonly number[];
  readonly isActive: boolean;
  readonly hasAnchor: boolean;
  readonly anchorFrameId: number | null;
  readonly anchorGps: Point | null;
  readonly matchingStatus: string;
  readonly createdAt: Timestamp;
  readonly updatedAt: Timestamp;
}

/** Where a row of a hypertable was before: the timestamp that this event replaces, if it carries another one. */
export interface Superseding {
  readonly supersedes?: Timestamp;
}

/** Every event type of the flight context with its data. */
export interface FlightEvents {
  FlightCreated: FlightDetails;
  /** All details as they are now. */
  FlightUpdated: FlightDetails;
  FlightDeleted: Record<string, never>;
  /** The details as they are now, without sensitive fields; null if the flight had been deleted before. */
  FlightErased: { readonly details: FlightDetails | null };
  GeofenceAdded: GeofenceData;
  GeofenceUpdated: GeofenceData;
  GeofenceRemoved: { readonly id: string };
  WaypointAdded: WaypointData;
  WaypointUpdated: WaypointData;
  FlightStateSaved: ProcessingState;
  FrameResultSaved: FrameData & Superseding;
  HeadingSaved: HeadingData & Superseding;
  ImageMetadataSaved: ImageData;
  ImageContentStored: ImageContent;
  /** With its content. */
  ImageRemoved: { readonly frameId: number };
  ChunkStateSaved: RouteChunk;
  /** `into` is the target after the merge; the source no longer exists. */
  ChunkMerged: { readonly chunkId: string; readonly into: RouteChunk };
  ChunkDeleted: { readonly chunkId: string };
}

export type FlightEventType = keyof FlightEvents;

/** By name, so that a forgotten one does not compile. */
const types: Readonly<Record<FlightEventType, true>> = {
  FlightCreated: true,
  FlightUpdated: true,
  FlightDeleted: true,
  FlightErased: true,
  GeofenceAdded: true,
  GeofenceUpdated: true,
  GeofenceRemoved: true,
  WaypointAdded: true,
  WaypointUpdated: true,
  FlightStateSaved: true,
  FrameResultSaved: true,
  HeadingSaved: true,
  ImageMetadataSaved: true,
  ImageContentStored: true,
  ImageRemoved: true,
  ChunkStateSaved: true,
  ChunkMerged: true,
  ChunkDeleted: true,
};

export const FLIGHT_EVENT_TYPES: ReadonlySet<string> = new Set(Object.keys(types));

export type FlightEvent = {
  [Type in FlightEventType]: { readonly type: Type; readonly data: FlightEvents[Type] };
}[FlightEventType];

/** The streams of flights, `flight-<id>`. */
export const flightStreams = new Category('flight');

/** The stream of a flight. */
export const streamOf = (flightId: string): string => flightStreams.streamOf(flightId);

/** The flight that an event is of. Throws `stream.of-another-category`. */
export const flightIdOf = ({ streamId }: { readonly streamId: string }): string =>
  flightStreams.idOf(streamId);
