import { DataKeys } from '#lib/event-store';
import { CheckpointWatch } from '#lib/projections';
import { Inject, type Type } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { changes } from './changes.js';
import type { CommandResult, FlightCommand, Slice } from './command.js';
import { GetEventsHandler, GetFlightEventsHandler } from './events.queries.js';
import { EraseFlight, eraseFlight, type StillInTables } from './flight/erase-flight.js';
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

/** The handler of a slice. All handlers do the same, so they are generated. */
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

/** How long the tables can take to follow before the answer says that they have not. */
const TABLES_MS = 5_000;

/**
 * Answers when the key is deleted and the tables have followed, or with the reason why they have not. The key is
 * deleted with the append of the erasure. A client without an answer sends the command again; a repeat appends nothing
 * and deletes what was left.
 */
@CommandHandler(EraseFlight)
export class EraseFlightHandler implements ICommandHandler<EraseFlight, CommandResult & StillInTables> {
  constructor(
    private readonly flights: Flights,
    private readonly keys: DataKeys,
    private readonly watch: CheckpointWatch,
  ) {}

  async execute(command: EraseFlight): Promise<CommandResult & StillInTables> {
    const streamId = streamOf(command.flightId);
    const result = await this.flights.execute(eraseFlight, command);
    await this.keys.forget(streamId);
    const waits = await this.watch.lacks(streamId, result.position, TABLES_MS);
    return waits === undefined ? result : { ...result, waits };
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
