import type { ChunkHandle, FrameResult, ImportedFlight, NewWaypoint, Waypoint } from '#lib/flight';

/** Small valid inputs. Numbers vary with `n`, so that no two are alike. */
const EPOCH = Date.UTC(2026, 4, 1, 12);

export const at = (n: number): string => new Date(EPOCH + n * 100).toISOString();

export const aWaypoint = (n: number, changes: Partial<Waypoint> = {}): Waypoint => ({
  id: `w${n}`,
  lat: 63.4 + n / 10_000,
  lon: 10.4 - n / 10_000,
  altitude: 100 + n / 10,
  confidence: 0.5,
  timestamp: at(n),
  refined: false,
  ...changes,
});

export const aFlight = (
  id: string,
  waypoints = 0,
  changes: Partial<ImportedFlight> = {},
): ImportedFlight => ({
  id,
  name: `Flight ${id}`,
  description: 'over the fjord',
  startGps: { lat: 63.4, lon: 10.4 },
  altitude: 120.5,
  cameraParams: { focalLength: 35, sensor: { width: 23.5, height: 15.6 } },
  waypoints: Array.from({ length: waypoints }, (_, n): NewWaypoint => aWaypoint(n)),
  geofences: [{ id: 'home', northWest: { lat: 63.5, lon: 10.3 }, southEast: { lat: 63.3, lon: 10.5 } }],
  ...changes,
});

export const aFrame = (n: number, changes: Partial<FrameResult> = {}): FrameResult => ({
  frameId: n,
  gpsCenter: { lat: 63.4 + n / 20_000, lon: 10.4 + n / 30_000 },
  altitude: 120.25 + n,
  heading: (n * 7.5) % 360,
  confidence: 0.75,
  refined: false,
  timestamp: at(n),
  ...changes,
});

export const aChunk = (chunkId: string, changes: Partial<ChunkHandle> = {}): ChunkHandle => ({
  chunkId,
  startFrameId: 0,
  endFrameId: 2,
  frames: [0, 1, 2],
  isActive: true,
  hasAnchor: false,
  anchorFrameId: null,
  anchorGps: null,
  matchingStatus: 'unanchored',
  ...changes,
});
