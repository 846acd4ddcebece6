import fc from 'fast-check';

/** A command by the name of its class, with its own fields. */
export interface Sent {
  readonly type: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export const flightId = 'f';
export const streamId = `flight-${flightId}`;

// Few of each, so that commands meet.
const id = fc.constantFrom('a', 'b', '__proto__', 'constructor', 'ü 3');
const frameId = fc.constantFrom(0, 1, 2, 2_147_483_647);
const timestamp = fc.constantFrom(
  '2026-05-01T12:00:00Z',
  '2026-05-01T14:00:00+02:00',
  '2026-05-01T12:00:00.000100Z',
  '2026-05-01T12:00:00.000900Z',
  '2026-05-01T12:00:00.001Z',
  '2026-05-02T00:00:00.5Z',
  '2026-05-01T23:59:59.999999Z',
  '1970-01-01T00:00:00Z',
  '2026-12-31T23:59:59.999999Z',
);
const double = (min: number, max: number) =>
  fc.oneof(fc.constantFrom(min, max, 0), fc.double({ min, max, noNaN: true }));
const altitude = fc.oneof(
  fc.constantFrom(0, -0, 1e300, 5e-324),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const point = fc.record({ lat: double(-90, 90), lon: double(-180, 180) });
const label = fc.constantFrom('x', '"', '{}', 'NULL', 'a\\b', '🚁');
const optional = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 2, arbitrary }, { weight: 1, arbitrary: fc.constantFrom(null, undefined) });
/** User-made objects, with names that every object has. */
export const madeUpJson: fc.Arbitrary<object> = fc
  .array(
    fc.tuple(
      fc.constantFrom('a', 'b', '__proto__', 'constructor', '$map', '$object', ''),
      fc.oneof(
        fc.constantFrom<unknown>(null, 0, 1, '', 'x', true, [], {}, [{}], { a: {} }),
        fc.constantFrom<unknown>(Object.fromEntries([['__proto__', {}]]), { toString: 1 }),
      ),
    ),
    { maxLength: 3 },
  )
  .map((entries) => Object.fromEntries(entries) as object);

const waypointFields = {
  lat: double(-90, 90),
  lon: double(-180, 180),
  altitude: optional(altitude),
  confidence: double(0, 1),
  timestamp,
  refined: optional(fc.boolean()),
};
const waypoint = fc.record({ id, ...waypointFields });
const geofence = fc.record({ id, a: point, b: point }).map(({ id, a, b }) => {
  const [least, most] = [Math.min(a.lon, b.lon), Math.max(a.lon, b.lon)];
  // The short way around, over the antimeridian if that is shorter.
  const [west, east] = most - least > 180 ? [most, least] : [least, most];
  return {
    id,
    northWest: { lat: Math.max(a.lat, b.lat), lon: west },
    southEast: { lat: Math.min(a.lat, b.lat), lon: east },
  };
});
const frame = fc.record({
  frameId,
  gpsCenter: point,
  altitude,
  heading: double(0, 360),
  confidence: double(0, 1),
  refined: optional(fc.boolean()),
  timestamp,
  updatedAt: optional(timestamp),
});
const heading = fc.record({ frameId, heading: double(0, 360), timestamp });
const chunk = fc.record({
  chunkId: id,
  startFrameId: frameId,
  endFrameId: optional(frameId),
  frames: fc.array(frameId, { maxLength: 4 }),
  isActive: fc.boolean(),
  hasAnchor: fc.boolean(),
  anchorFrameId: optional(frameId),
  anchorGps: optional(point),
  matchingStatus: label,
});

const sent = (type: string, fields: Readonly<Record<string, fc.Arbitrary<unknown>>>, weight = 2) => ({
  weight,
  arbitrary: fc.record(fields).map((values): Sent => ({ type, fields: values })),
});

const create = sent(
  'CreateFlight',
  {
    flight: fc.record({
      id: fc.constant(flightId),
      name: label,
      description: optional(label),
      startGps: point,
      altitude,
      cameraParams: optional(madeUpJson),
      waypoints: optional(fc.array(waypoint, { maxLength: 2 })),
      geofences: optional(fc.array(geofence, { maxLength: 2 })),
      createdAt: optional(timestamp),
      updatedAt: optional(timestamp),
    }),
  },
  8,
);

/** Valid commands to one flight, whatever their result. */
export const flightCommands: fc.Arbitrary<Sent> = fc.oneof(
  create,
  sent('DeleteFlight', {}, 1),
  sent('UpdateFlight', {
    changes: fc.record({
      name: optional(label),
      description: optional(label),
      startGps: optional(point),
      altitude: optional(altitude),
      cameraParams: optional(madeUpJson),
    }),
  }),
  sent('AddWaypoint', { waypoint }),
  sent('UpdateWaypoint', { waypoint }),
  sent('UpdateWaypoints', {
    waypoints: fc.uniqueArray(waypoint, { minLength: 1, maxLength: 4, selector: (w) => w.id }),
  }),
  sent('AddGeofence', { geofence }),
  sent('UpdateGeofence', { geofence }),
  sent('RemoveGeofence', { geofenceId: id }),
  sent('SaveFlightState', {
    state: fc.record({
      status: label,
      framesProcessed: frameId,
      framesTotal: frameId,
      currentFrame: optional(frameId),
      blocked: fc.boolean(),
      searchGridSize: optional(frameId),
      createdAt: optional(timestamp),
      updatedAt: optional(timestamp),
    }),
  }),
  sent('SaveFrameResult', { frame }, 4),
  sent('SaveFrameResults', { frames: fc.array(frame, { minLength: 1, maxLength: 4 }) }),
  sent('SaveHeading', { heading }, 3),
  sent('SaveHeadings', { headings: fc.array(heading, { minLength: 1, maxLength: 4 }) }),
  sent(
    'SaveImageMetadata',
    {
      image: fc.record({
        frameId,
        filePath: label,
        metadata: optional(madeUpJson),
        uploadedAt: optional(timestamp),
      }),
    },
    4,
  ),
  sent('StoreImageContent', {
    frameId,
    content: fc.record({
      sha256: fc.constantFrom('ab'.repeat(32), 'cd'.repeat(32)),
      size: fc.integer({ min: 1, max: 10_000 }),
      type: fc.constantFrom('image/jpeg', 'image/png'),
    }),
  }),
  sent('RemoveImage', { frameId }),
  sent('SaveChunkState', { chunk }, 6),
  sent('MergeChunk', { chunkId: id, into: id }, 4),
  sent('DeleteChunk', { chunkId: id }),
);
