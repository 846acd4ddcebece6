import { ArrayMaxSize } from 'class-validator';
import {
  Example,
  conflict,
  invalidInput,
  IsJsonObject,
  IsKnownId,
  IsTimestamp,
  Nested,
  Optional,
  parseTimestamp,
  FreeText,
  Label,
} from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { Altitude, MAX_BATCH } from '../fields.js';
import { existing, same, type ExistingFlight } from '../flight.js';
import { Geofence, geofenceOf } from '../geofences/geofence.js';
import { GpsPoint } from '../gps-point.js';
import { Waypoint, waypointOf } from '../waypoints/waypoint.js';

/**
 * The details to change; omitted ones stay. A flight that was read is accepted too: this does not change its parts, so
 * they must be those that it has.
 */
@Example<FlightChanges>({ name: 'Over the fjord, again', altitude: 110 })
export class FlightChanges {
  /** If given, it must be the flight of the command. */
  @Optional() @IsKnownId() readonly id?: string | null | undefined;
  @Optional() @Label(255) readonly name?: string | null | undefined;
  @Optional() @FreeText(10_000) readonly description?: string | null | undefined;
  @Optional() @Nested(() => GpsPoint) readonly startGps?: GpsPoint | null | undefined;
  @Optional() @Altitude() readonly altitude?: number | null | undefined;
  @Optional() @IsJsonObject() readonly cameraParams?: object | null | undefined;
  @Optional() @Nested(() => Waypoint, { each: true }) @ArrayMaxSize(MAX_BATCH) readonly waypoints?:
    readonly Waypoint[] | null | undefined;
  @Optional() @Nested(() => Geofence, { each: true }) @ArrayMaxSize(1_000) readonly geofences?:
    readonly Geofence[] | null | undefined;
  @Optional() @IsTimestamp() readonly createdAt?: string | null | undefined;
  /** Kept if given; otherwise the time of the last change of the details. */
  @Optional() @IsTimestamp() readonly updatedAt?: string | null | undefined;
}

export class UpdateFlight extends FlightCommand {
  @Nested(() => FlightChanges) readonly changes!: FlightChanges;

  constructor(fields: { readonly flightId: string; readonly changes: FlightChanges } & CommandOptions) {
    super(fields);
  }
}

export const updateFlight = slice(UpdateFlight, ({ flightId, changes }, flight, { at }) => {
  if (changes.id && changes.id !== flightId) {
    throw invalidInput([
      { field: 'changes.id', message: `is ${changes.id}, but the command is on ${flightId}` },
    ]);
  }
  const known = existing(flight, flightId);
  refuseOtherParts(flightId, known, changes);
  const { details } = known;
  const data = {
    ...details,
    name: changes.name ?? details.name,
    description: changes.description ?? details.description,
    startGps: changes.startGps ? { lat: changes.startGps.lat, lon: changes.startGps.lon } : details.startGps,
    altitude: changes.altitude ?? details.altitude,
    cameraParams: changes.cameraParams ? { ...changes.cameraParams } : details.cameraParams,
    createdAt: (changes.createdAt && parseTimestamp(changes.createdAt)) ?? details.createdAt,
    updatedAt: (changes.updatedAt && parseTimestamp(changes.updatedAt)) ?? at,
  };
  const isRepeat = changes.updatedAt ? same(details, data) : same(details, data, 'updatedAt');
  return isRepeat ? [] : [{ type: 'FlightUpdated', data }];
});

function refuseOtherParts(flightId: string, flight: ExistingFlight, changes: FlightChanges): void {
  const isOther = <Item extends { readonly id: string }, Data extends object>(
    given: readonly Item[] | null | undefined,
    known: Pick<ReadonlyMap<string, Data>, 'size' | 'get'>,
    dataOf: (item: Item, id: string) => Data,
  ) =>
    given &&
    (given.length !== known.size || given.some((item) => !same(known.get(item.id), dataOf(item, item.id))));
  const other = isOther(changes.waypoints, flight.waypoints, waypointOf)
    ? 'waypoints'
    : isOther(changes.geofences, flight.geofences, geofenceOf)
      ? 'geofences'
      : undefined;
  if (other === undefined) return;
  throw conflict(
    'flight.parts-differ',
    `The ${other} are not those of flight ${flightId}, and a change of its details leaves them as they are. Leave them ` +
      `out, and change them by themselves.`,
    { flightId, parts: other },
  );
}
