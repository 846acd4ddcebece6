import type { FrameResult, NewFlight, Waypoint } from '#lib/flight';

const EPOCH = Date.UTC(2026, 4, 1);
export const time = (n: number): string => new Date(EPOCH + n * 500).toISOString();

export const waypoint = (n: number, changes: Partial<Waypoint> = {}): Waypoint => ({
  id: `w${n}`,
  lat: 63.4 + n / 10_000,
  lon: 10.4,
  altitude: 120,
  confidence: 0.5,
  timestamp: time(n),
  refined: false,
  ...changes,
});

export const frame = (n: number) =>
  ({
    frameId: n,
    gpsCenter: { lat: 63.4 + (n % 1_000) / 10_000, lon: 10.4123 },
    altitude: 120.5,
    heading: n % 360,
    confidence: 0.75,
    refined: false,
    timestamp: time(n % 100_000),
  }) satisfies FrameResult;

export const flight = (id: string, waypoints: number): NewFlight => ({
  id,
  name: id,
  startGps: { lat: 63.4, lon: 10.4 },
  altitude: 120,
  waypoints: Array.from({ length: waypoints }, (_, n) => waypoint(n)),
});
