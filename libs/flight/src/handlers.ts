import { DataKeys } from '#lib/event-store';
import { Inject, type Type } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { changes } from './changes.js';
import type { CommandResult, FlightCommand, Slice } from './command.js';
import { GetEventsHandler, GetFlightEventsHandler } from './events.queries.js';
import { EraseFlight, eraseFlight } from './flight/erase-flight.js';
import { GetFlightHandler, ListFlightsHandler } from './flight/flights.queries.js';
import { Flights } from './flights.js';
import { GetFrameMinutesHandler } from './frames/frame-minutes.queries.js';
import { GetFrameResultsHandler } from './frames/frame-results.queries.js';
import { GetGeofencesHandler } from './geofences/geofences.queries.js';
import { GetHeadingHistoryHandler, GetLatestHeadingHandler } from './headings/heading-history.queries.js';
import { GetImageMetadataHandler, GetImagePathHandler } from './images/flight-images.queries.js';
import {
  GetFlightStateHandler,
  GetProcessingHistoryHandler,
} from './processing-state/flight-state.queries.js';
import { GetChunkStatesHandler } from './route-chunks/chunks.queries.js';
import { streamOf } from './flight-reads.js';
import { transact } from './transact.js';
import { GetWaypointsHandler } from './waypoints/waypoints.queries.js';

/** The handler of a slice. All of them do the same, so none is written by hand. */
function handlerOf(slice: Slice<FlightCommand>): Type<ICommandHandler<FlightCommand, CommandResult>> {
  class Handler implements ICommandHandler<FlightCommand, CommandResult> {
    constructor(@Inject(Flights) private readonly flights: Flights) {}

    execute(command: FlightCommand): Promise<CommandResult> {
      return this.flights.execute(slice, command);
    }
  }
  Object.defineProperty(Handler, 'name', { value: `${slice.command.name}Handler` });
  CommandHandler(slice.command as Type<FlightCommand>)(Handler);
  return Handler;
}

/**
 * Answers when the key is gone. It goes with the append of the erasure; whoever got no answer sends the command again, and a
 * repeat, which appends nothing, deletes what was left.
 */
@CommandHandler(EraseFlight)
export class EraseFlightHandler implements ICommandHandler<EraseFlight, CommandResult> {
  constructor(
    private readonly flights: Flights,
    private readonly keys: DataKeys,
  ) {}

  async execute(command: EraseFlight): Promise<CommandResult> {
    const result = await this.flights.execute(eraseFlight, command);
    await this.keys.forget(streamOf(command.flightId));
    return result;
  }
}

export const commandHandlers: Type<ICommandHandler>[] = [
  ...[...changes, transact].map((slice) => handlerOf(slice as unknown as Slice<FlightCommand>)),
  EraseFlightHandler,
];

export const queryHandlers = [
  GetFlightHandler,
  ListFlightsHandler,
  GetWaypointsHandler,
  GetGeofencesHandler,
  GetFlightStateHandler,
  GetProcessingHistoryHandler,
  GetFrameResultsHandler,
  GetFrameMinutesHandler,
  GetHeadingHistoryHandler,
  GetLatestHeadingHandler,
  GetImageMetadataHandler,
  GetImagePathHandler,
  GetChunkStatesHandler,
  GetFlightEventsHandler,
  GetEventsHandler,
];
