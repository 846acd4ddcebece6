import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { Projection } from '#lib/projections';
import type { ModelDefinition, TableModel } from '#lib/timescale';
import {
  context,
  modelsOf,
  readsOf,
  severalCommands,
  tableModelsOf,
  type Context,
  type ContextPart,
} from '#lib/waylog';
import { flightDaysPart } from './days/flight-days.projection.js';
import { flightDemo } from './demo.js';
import { flightEventsPart } from './flight-events.api.js';
import { FlightDatabase } from './flight-database.js';
import { FlightReads } from './flight-reads.js';
import { flightNotFound } from './flight.js';
import { flightStream } from './flight-stream.js';
import { eraseFlight } from './flight/erase-flight.js';
import { flightsPart } from './flight/flights.api.js';
import { flightsTable } from './flight/flights.projection.js';
import { rollUpAgain } from './frames/frame-minutes.follower.js';
import { framesPart } from './frames/frame-results.api.js';
import { geofencesPart } from './geofences/geofences.api.js';
import { headingsPart } from './headings/heading-history.api.js';
import { imagesPart } from './images/flight-images.api.js';
import { processingStatePart } from './processing-state/flight-state.api.js';
import { routeChunksPart } from './route-chunks/chunks.api.js';
import { flightSettings } from './settings.js';
import { transactPart } from './transact.api.js';
import { Transact } from './transact.js';
import { waypointsPart } from './waypoints/waypoints.api.js';

/** The folders of the context; a new one is a line here. */
const folders: readonly ContextPart[] = [
  flightsPart,
  waypointsPart,
  geofencesPart,
  processingStatePart,
  framesPart,
  headingsPart,
  flightDaysPart,
  imagesPart,
  routeChunksPart,
];
/** Every command that changes a flight, and that callers may name. */
export const changes = folders
  .flatMap(({ commands = [] }) => commands)
  .filter(({ isInternal }) => !isInternal);
export const transact = severalCommands(flightStream, Transact, changes);

/** Where a UAV without GPS was: flights, and everything that is estimated and recorded of them. */
export const flight: Context = context('flight', {
  streams: [flightStream],
  parts: [...folders, flightEventsPart, transactPart],
  commands: [transact],
  erasures: [eraseFlight],
  onRewritten: rollUpAgain,
  settings: flightSettings,
  cli: () => import('./cli/index.js'),
  demo: flightDemo,
  about:
    'Positions are WGS84 degrees, altitudes metres above mean sea level, headings degrees clockwise from north.',
  examples: {
    ids: { flight: 'fjord-1' },
    command: {
      command: 'SaveHeading',
      parameters: {
        flightId: 'fjord-1',
        heading: { frameId: 0, heading: 92.5, timestamp: '2026-05-01T12:00:00.500Z' },
      },
    },
    cli: [
      'waylog import FILE.ulg   record a PX4 flight log',
      'waylog simulate          record a flight that never happened',
    ],
    sql: { query: 'select id, name from flight.flights where altitude > $1', values: [100] },
  },
  providers: [
    readsOf(FlightReads, { stream: flightStream, listedIn: flightsTable, notFound: flightNotFound }),
    {
      provide: FlightDatabase,
      inject: [CommandBus, QueryBus],
      useFactory: (commandBus: CommandBus, queryBus: QueryBus) => new FlightDatabase(commandBus, queryBus),
    },
  ],
});

/** Its tables, in the order of their declaration. */
export const flightProjections: readonly Projection[] = flight.projections;
export const flightTables: readonly TableModel[] = tableModelsOf([flight]);
export const flightModels: readonly ModelDefinition[] = modelsOf([flight]);
