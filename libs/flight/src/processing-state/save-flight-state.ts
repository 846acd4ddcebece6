import {
  Example,
  invalidInput,
  IsKnownId,
  IsTimestamp,
  Nested,
  Optional,
  parseTimestamp,
  Label,
} from '#lib/platform';
import { FlightCommand, slice, type CommandOptions } from '../command.js';
import { Flag, FrameNumber } from '../fields.js';
import { existing, same } from '../flight.js';

/** The progress of the processing of a flight. Headings are not here: they are in the heading history alone. */
@Example<FlightStateFields>({
  status: 'processing',
  framesProcessed: 1,
  framesTotal: 1200,
  currentFrame: 0,
  blocked: false,
})
export class FlightStateFields {
  /** If given, it must be the flight of the command. */
  @Optional() @IsKnownId() readonly flightId?: string | null | undefined;
  @Label(50) readonly status!: string;
  @FrameNumber() readonly framesProcessed!: number;
  @FrameNumber() readonly framesTotal!: number;
  @Optional() @FrameNumber() readonly currentFrame?: number | null | undefined;
  /** True while the processing waits for a person. */
  @Flag() readonly blocked!: boolean;
  /** Number of tiles of the search grid, if one is searched. */
  @Optional() @FrameNumber() readonly searchGridSize?: number | null | undefined;
  /** Kept if given; otherwise the time of the first save. */
  @Optional() @IsTimestamp() readonly createdAt?: string | null | undefined;
  /** Kept if given; otherwise the time of the last change. */
  @Optional() @IsTimestamp() readonly updatedAt?: string | null | undefined;
}

export class SaveFlightState extends FlightCommand {
  @Nested(() => FlightStateFields) readonly state!: FlightStateFields;

  constructor(fields: { readonly flightId: string; readonly state: FlightStateFields } & CommandOptions) {
    super(fields);
  }
}

export const saveFlightState = slice(SaveFlightState, ({ flightId, state }, flight, { at }) => {
  if (state.flightId && state.flightId !== flightId) {
    throw invalidInput([
      { field: 'state.flightId', message: `is ${state.flightId}, but the command is on ${flightId}` },
    ]);
  }
  const before = existing(flight, flightId).processing;
  const data = {
    status: state.status,
    framesProcessed: state.framesProcessed,
    framesTotal: state.framesTotal,
    currentFrame: state.currentFrame ?? null,
    blocked: state.blocked,
    searchGridSize: state.searchGridSize ?? null,
    createdAt: (state.createdAt && parseTimestamp(state.createdAt)) ?? before?.createdAt ?? at,
    updatedAt: (state.updatedAt && parseTimestamp(state.updatedAt)) ?? at,
  };
  const isRepeat = state.updatedAt ? same(before, data) : same(before, data, 'updatedAt');
  return isRepeat ? [] : [{ type: 'FlightStateSaved', data }];
});
