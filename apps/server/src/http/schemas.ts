import {
  ChunkHandle,
  FlightStateFields,
  FrameResult,
  Geofence,
  GpsPoint,
  HeadingRecord,
  ImageMetadata,
  Waypoint,
} from '#lib/flight';
import { MAX_BAD_FIELDS, schemaOf, type Class, type Schema } from '#lib/platform';

/** The component schemas of the OpenAPI document: inputs from the rules of their classes, answers as stated here. */
const inputs = new Map<string, Class>();

/** A reference to the schema of an input class, which becomes a component of the document. */
export function referenceTo(type: Class): Schema {
  const known = inputs.get(type.name);
  if (known && known !== type)
    throw new Error(`Two input classes are called ${type.name}; OpenAPI needs other names.`);
  inputs.set(type.name, type);
  return { $ref: `#/components/schemas/${type.name}` };
}

const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
const list = (items: Schema): Schema => ({ type: 'array', items });
const object = (properties: Record<string, Schema>, required = Object.keys(properties)): Schema => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});
const text: Schema = { type: 'string' };
const time: Schema = { type: 'string', format: 'date-time', examples: ['2026-05-01T12:00:00.5Z'] };
const count: Schema = { type: 'integer', minimum: 0, examples: [2] };
const position: Schema = {
  type: 'string',
  description: 'A place in the global order. Opaque: only compare it for equality.',
  examples: ['408'],
};
const flightId: Schema = { type: 'string', examples: ['fjord-1'] };
const recorded = { flightId, revision: count, position };
const page = (items: Schema): Schema =>
  object({
    items: list(items),
    total: { type: ['integer', 'null'], minimum: 0, examples: [2], description: 'Null with `total=false`.' },
    limit: count,
    offset: count,
    next: {
      type: ['string', 'null'],
      description: 'What to give as `after` for the next page; null on the last.',
    },
  });

/** A stored object: every optional field of its input is there, null if it was not given. */
function answerOf(type: Class, more: Record<string, Schema> = {}): Schema {
  const properties = { ...(schemaOf(type, referenceTo)['properties'] as Record<string, Schema>), ...more };
  return object(properties);
}

const details = {
  id: flightId,
  name: { type: 'string', examples: ['Over the fjord'] },
  description: text,
  startGps: ref('GpsPoint'),
  altitude: { type: 'number', examples: [120] },
  cameraParams: { type: 'object', additionalProperties: true },
  createdAt: time,
  updatedAt: time,
};

/** The answers of the routes, by component name. */
export const answers = (): Record<string, Schema> => ({
  GpsPoint: schemaOf(GpsPoint),
  CommandResult: object(recorded),
  ErasureResult: object(
    {
      ...recorded,
      waits: {
        type: 'string',
        description: 'Only while the tables still hold what was erased: why, and what has to happen.',
      },
    },
    Object.keys(recorded),
  ),
  WaypointAdded: object({ ...recorded, waypointId: text }),
  GeofenceAdded: object({ ...recorded, geofenceId: text }),
  BatchResult: object({
    ...recorded,
    success: { type: 'boolean' },
    updatedCount: count,
    failedIds: list(text),
  }),
  SavedResult: object({ ...recorded, saved: count }),
  TransactionResult: object({ ...recorded, results: list({ type: 'object', additionalProperties: true }) }),
  Flight: object({
    ...details,
    waypoints: list(ref('StoredWaypoint')),
    geofences: list(ref('StoredGeofence')),
  }),
  FlightPage: page(object(details)),
  StoredWaypoint: answerOf(Waypoint),
  StoredWaypoints: list(ref('StoredWaypoint')),
  StoredGeofence: answerOf(Geofence),
  StoredGeofences: list(ref('StoredGeofence')),
  FlightState: answerOf(FlightStateFields, { flightId, createdAt: time, updatedAt: time }),
  FlightStatePage: page(ref('FlightState')),
  StoredFrame: answerOf(FrameResult, { refined: { type: 'boolean' }, updatedAt: time }),
  StoredFrames: list(ref('StoredFrame')),
  StoredHeading: answerOf(HeadingRecord),
  StoredHeadings: list(ref('StoredHeading')),
  StoredImage: answerOf(ImageMetadata, {
    metadata: { type: 'object', additionalProperties: true },
    uploadedAt: time,
  }),
  StoredChunks: list(answerOf(ChunkHandle)),
  Events: list(
    object(
      {
        id: text,
        streamId: text,
        type: text,
        schemaVersion: count,
        revision: count,
        position,
        recordedAt: time,
        data: { type: 'object', additionalProperties: true },
        metadata: { type: 'object', additionalProperties: true },
      },
      ['id', 'type', 'revision', 'position', 'recordedAt', 'data', 'metadata'],
    ),
  ),
  Problem: {
    ...object(
      {
        type: text,
        code: { type: 'string', description: 'Stable; for programs.' },
        title: text,
        status: count,
        detail: { type: 'string', description: 'What happened, why, and what to do.' },
        errors: list(object({ field: text, message: text })),
        hasMoreErrors: {
          type: 'boolean',
          description: `There are more bad fields than the ${MAX_BAD_FIELDS} that \`errors\` names at most.`,
        },
      },
      ['type', 'code', 'title', 'status', 'detail'],
    ),
    examples: [
      {
        type: 'about:blank',
        code: 'flight.not-found',
        title: 'Not found',
        status: 404,
        detail: 'There is no flight fjord-1.',
      },
    ],
  },
});

/** All components: the answers of the routes, and every input. */
export function components(): Record<string, Schema> {
  const all = answers();
  // Inputs refer to inputs: continue until there is no new one.
  for (let before = -1; before < inputs.size;) {
    before = inputs.size;
    for (const [name, type] of inputs) all[name] = schemaOf(type, referenceTo);
  }
  return all;
}
