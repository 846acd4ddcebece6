import { ArrayMaxSize } from 'class-validator';
import {
  Example,
  conflict,
  IsId,
  IsJsonObject,
  IsTimestamp,
  Nested,
  Optional,
  parseTimestamp,
  FreeText,
  Label,
} from '#lib/platform';
import { FlightCommand, idOf, newId, slice, type CommandOptions } from '../command.js';
import type { FlightEvent } from '../events.js';
import { refuseErased } from '../flight.js';
import { Altitude, MAX_BATCH } from '../fields.js';
import { NewGeofence, geofenceOf } from '../geofences/geofence.js';
import { GpsPoint } from '../gps-point.js';
import { NewWaypoint, waypointOf } from '../waypoints/waypoint.js';

/** The parts of a flight; omitted ones get the default. */
export class NewFlight {
  /** Generated if omitted. */
  @Optional() @IsId() readonly id?: string | null | undefined;
  @Label(255) readonly name!: string;
  /** Default: empty. */
  @Optional() @FreeText(10_000) readonly description?: string | null | undefined;
  /** Where the flight begins. */
  @Nested(() => GpsPoint) readonly startGps!: GpsPoint;
  /** Planned altitude, metres above mean sea level. */
  @Altitude() readonly altitude!: number;
  /** Whatever describes the camera; default: empty. */
  @Optional() @IsJsonObject() readonly cameraParams?: object | null | undefined;
  /** The rough route. */
  @Optional() @Nested(() => NewWaypoint, { each: true }) @ArrayMaxSize(MAX_BATCH) readonly waypoints?:
    readonly NewWaypoint[] | null | undefined;
  @Optional() @Nested(() => NewGeofence, { each: true }) @ArrayMaxSize(1_000) readonly geofences?:
    readonly NewGeofence[] | null | undefined;
}

/** A flight that another system has kept so far can bring its times. */
@Example<ImportedFlight>({
  id: 'fjord-1',
  name: 'Over the fjord',
  startGps: { lat: 63.43, lon: 10.39 },
  altitude: 120,
  cameraParams: { focalLengthMm: 24 },
  waypoints: [
    { id: 'w1', lat: 63.44, lon: 10.4, altitude: 120, confidence: 0.5, timestamp: '2026-05-01T12:00:00Z' },
  ],
  geofences: [{ id: 'g1', northWest: { lat: 63.5, lon: 10.3 }, southEast: { lat: 63.4, lon: 10.5 } }],
})
export class ImportedFlight extends NewFlight {
  @Optional() @IsTimestamp() readonly createdAt?: string | null | undefined;
  @Optional() @IsTimestamp() readonly updatedAt?: string | null | undefined;
}

/** Creates a flight with its rough route, its geofences and its first processing state. */
export class CreateFlight extends FlightCommand {
  @IsId() override readonly flightId!: string;
  @Nested(() => ImportedFlight) readonly flight!: ImportedFlight;

  constructor(fields: { readonly flight: ImportedFlight } & CommandOptions) {
    super({ ...fields, flightId: idOf(fields.flight) ?? newId(fields.commandId, 'flight') });
  }
}

export const createFlight = slice(CreateFlight, ({ flightId, flight: wanted, commandId }, flight, { at }) => {
  refuseErased(flight, flightId);
  if (flight.details) {
    throw conflict(
      'flight.already-exists',
      `There is a flight ${flightId} already. Choose another id, or leave the id out to get a new one.`,
      { flightId },
    );
  }
  const waypoints = (wanted.waypoints ?? []).map((w, i) =>
    waypointOf(w, w.id ?? newId(commandId, `waypoint ${i}`)),
  );
  const geofences = (wanted.geofences ?? []).map((g, i) =>
    geofenceOf(g, g.id ?? newId(commandId, `geofence ${i}`)),
  );
  refuseDuplicates('waypoint', waypoints);
  refuseDuplicates('geofence', geofences);
  const createdAt = (wanted.createdAt && parseTimestamp(wanted.createdAt)) ?? at;
  const updatedAt = (wanted.updatedAt && parseTimestamp(wanted.updatedAt)) ?? createdAt;
  return [
    {
      type: 'FlightCreated',
      data: {
        name: wanted.name,
        description: wanted.description ?? '',
        startGps: { lat: wanted.startGps.lat, lon: wanted.startGps.lon },
        altitude: wanted.altitude,
        cameraParams: { ...wanted.cameraParams },
        createdAt,
        updatedAt,
      },
    },
    ...geofences.map((data): FlightEvent => ({ type: 'GeofenceAdded', data })),
    ...waypoints.map((data): FlightEvent => ({ type: 'WaypointAdded', data })),
    {
      type: 'FlightStateSaved',
      data: {
        status: 'created',
        framesProcessed: 0,
        framesTotal: 0,
        currentFrame: null,
        blocked: false,
        searchGridSize: null,
        createdAt,
        updatedAt,
      },
    },
  ];
});

function refuseDuplicates(what: string, items: readonly { readonly id: string }[]): void {
  const seen = new Set<string>();
  for (const { id } of items) {
    if (seen.has(id)) {
      throw conflict(
        `${what}.already-exists`,
        `The ${what} id ${id} stands twice in the new flight. Give each its own.`,
        { id },
      );
    }
    seen.add(id);
  }
}
