import { CommandBus, QueryBus } from '@nestjs/cqrs';
import pg from 'pg';
import { MAX_ANSWER_BYTES } from '#lib/platform';
import type { EventStore } from '#lib/event-store';
import { LiveRows, loadOmissions } from '#lib/projections';
import { context, EVENT_STORE, RunningContexts, type AnySlice, type Context } from '#lib/waylog';
import { changes } from './changes.js';
import { GetEventsHandler, GetFlightEventsHandler } from './events.queries.js';
import { FlightDatabase } from './flight-database.js';
import { FlightReads } from './flight-reads.js';
import { flightStream } from './flight-stream.js';
import { eraseFlight } from './flight/erase-flight.js';
import { EraseFlightHandler } from './flight/erase-flight.handler.js';
import { GetFlightHandler, ListFlightsHandler } from './flight/flights.queries.js';
import { frameMinutesFollower, rollUpAgain } from './frames/frame-minutes.follower.js';
import { GetFrameMinutesHandler } from './frames/frame-minutes.queries.js';
import { GetFrameResultsHandler } from './frames/frame-results.queries.js';
import { GetGeofencesHandler } from './geofences/geofences.queries.js';
import { GetHeadingHistoryHandler, GetLatestHeadingHandler } from './headings/heading-history.queries.js';
import { GetImageMetadataHandler, GetImagePathHandler } from './images/flight-images.queries.js';
import {
  GetFlightStateHandler,
  GetProcessingHistoryHandler,
} from './processing-state/flight-state.queries.js';
import { flightModels } from './models.js';
import { flightProjections } from './projections.js';
import { GetChunkStatesHandler } from './route-chunks/chunks.queries.js';
import { flightTables } from './table-models.js';
import { transact } from './transact.js';
import { GetWaypointsHandler } from './waypoints/waypoints.queries.js';

const commands: readonly AnySlice[] = [...changes, transact, eraseFlight];

/** Where a UAV without GPS was: flights, and everything that is estimated and recorded of them. */
export const flight: Context = context('flight', {
  streams: [flightStream],
  commands,
  commandHandlers: new Map([[eraseFlight, EraseFlightHandler]]),
  projections: flightProjections,
  followers: [frameMinutesFollower],
  tables: flightTables,
  models: flightModels,
  onRewritten: rollUpAgain,
  queries: [
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
  ],
  providers: [
    {
      provide: FlightReads,
      inject: [EVENT_STORE, RunningContexts, pg.Pool],
      useFactory: (store: EventStore, contexts: RunningContexts, pool: pg.Pool) =>
        new FlightReads(
          store,
          contexts.ofStream(flightStream).watch,
          new LiveRows(pool, MAX_ANSWER_BYTES),
          () => loadOmissions(pool, 'flight'),
        ),
    },
    {
      provide: FlightDatabase,
      inject: [CommandBus, QueryBus],
      useFactory: (commandBus: CommandBus, queryBus: QueryBus) => new FlightDatabase(commandBus, queryBus),
    },
  ],
});
