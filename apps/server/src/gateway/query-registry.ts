import type { Query } from '@nestjs/cqrs';
import {
  EventsOfFlight,
  EventsQuery,
  FlightFilter,
  FramesOfFlight,
  GetChunkStates,
  GetEvents,
  GetFlight,
  GetFlightEvents,
  GetFlightState,
  GetFrameMinutes,
  GetFrameResults,
  GetGeofences,
  GetHeadingHistory,
  GetImageMetadata,
  GetImagePath,
  GetLatestHeading,
  GetProcessingHistory,
  GetWaypoints,
  HeadingsOfFlight,
  HistoryFilter,
  ImageOfFlight,
  ListFlights,
  MinutesOfFlight,
  OfFlight,
  WaypointsOfFlight,
} from '#lib/flight';
import type { ReadOptions } from '#lib/waylog';
import type { Class } from '#lib/platform';

/** A query by its name: the rules of its parameters, and how it is created from them. */
interface NamedQuery {
  readonly parameters: Class;
  readonly make: (parameters: object, options: ReadOptions) => Query<unknown>;
  /**
   * It reads data that is not of one state with the tables: the log, or the minute rollup. Its answers are not cached.
   */
  readonly isApart?: true;
}

const query = <P extends object>(
  parameters: Class<P>,
  make: (parameters: P, options: ReadOptions) => Query<unknown>,
): NamedQuery => ({ parameters, make: make as NamedQuery['make'] });

/** Every query by the name of its class; a new one needs a line here. */
export const namedQueries: ReadonlyMap<string, NamedQuery> = new Map(
  Object.entries({
    GetFlight: query(OfFlight, ({ flightId }, o) => new GetFlight(flightId, o)),
    ListFlights: query(FlightFilter, (filter, o) => new ListFlights(filter, o)),
    GetWaypoints: query(WaypointsOfFlight, ({ flightId, limit }, o) => new GetWaypoints(flightId, limit, o)),
    GetGeofences: query(OfFlight, ({ flightId }, o) => new GetGeofences(flightId, o)),
    GetFlightState: query(OfFlight, ({ flightId }, o) => new GetFlightState(flightId, o)),
    GetProcessingHistory: query(HistoryFilter, (filter, o) => new GetProcessingHistory(filter, o)),
    GetFrameResults: query(
      FramesOfFlight,
      ({ flightId, from, to, limit }, o) => new GetFrameResults(flightId, { from, to, limit }, o),
    ),
    GetFrameMinutes: {
      ...query(
        MinutesOfFlight,
        ({ flightId, from, to }, o) => new GetFrameMinutes(flightId, { from, to }, o),
      ),
      isApart: true as const,
    },
    GetHeadingHistory: query(
      HeadingsOfFlight,
      ({ flightId, last }, o) => new GetHeadingHistory(flightId, last, o),
    ),
    GetLatestHeading: query(OfFlight, ({ flightId }, o) => new GetLatestHeading(flightId, o)),
    GetImageMetadata: query(
      ImageOfFlight,
      ({ flightId, frameId }, o) => new GetImageMetadata(flightId, frameId, o),
    ),
    GetImagePath: query(ImageOfFlight, ({ flightId, frameId }, o) => new GetImagePath(flightId, frameId, o)),
    GetChunkStates: query(OfFlight, ({ flightId }, o) => new GetChunkStates(flightId, o)),
    GetFlightEvents: {
      ...query(
        EventsOfFlight,
        ({ flightId, fromRevision, limit }) => new GetFlightEvents(flightId, fromRevision, limit),
      ),
      isApart: true as const,
    },
    GetEvents: {
      ...query(EventsQuery, ({ after, limit, types }) => new GetEvents(after, limit, types?.split(','))),
      isApart: true as const,
    },
  }),
);
