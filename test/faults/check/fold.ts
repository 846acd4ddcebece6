import { rowText, type LogEvent, type TableName, type Tables } from './evidence.js';

/** The expected tables, folded from the log by a few lines of the checker's own. */
export function foldTables(events: readonly LogEvent[]): Tables {
  const tables: Record<TableName, Map<string, string>> = {
    flights: new Map(),
    waypoints: new Map(),
    frame_results: new Map(),
    heading_history: new Map(),
    chunks: new Map(),
    flight_state: new Map(),
  };
  const put = (table: TableName, key: readonly (string | number)[], ...rest: readonly unknown[]) =>
    tables[table].set(key.join(' '), rowText([...key, ...rest]));
  for (const { streamId, type, data } of events) {
    const flight = flightOf(streamId);
    switch (type) {
      case 'FlightCreated':
        put('flights', [flight], data.startGps.lat, data.startGps.lon, data.altitude);
        break;
      case 'WaypointAdded':
      case 'WaypointUpdated':
        put(
          'waypoints',
          [flight, data.id],
          ...[data.lat, data.lon, data.altitude, data.confidence, timeOf(data), data.refined],
        );
        break;
      case 'FrameResultSaved':
        put(
          'frame_results',
          [flight, data.frameId],
          ...[data.gpsCenter.lat, data.gpsCenter.lon, data.altitude, data.heading, data.confidence],
          ...[data.refined, timeOf(data)],
        );
        break;
      case 'HeadingSaved':
        put('heading_history', [flight, data.frameId], data.heading, timeOf(data));
        break;
      case 'ChunkStateSaved':
        put(
          'chunks',
          [flight, data.chunkId],
          ...[data.startFrameId, `[${data.frames.join(', ')}]`, data.isActive, data.matchingStatus],
        );
        break;
      case 'FlightStateSaved':
        put('flight_state', [flight], data.status, data.framesProcessed, data.currentFrame);
        break;
      default:
        throw new Error(`The load makes no ${type}, and the checker does not know how to fold it.`);
    }
  }
  return tables;
}

/**
 * The row that an event writes, and the value that distinguishes it from other writes of that row, as reads name them.
 */
export function valueOf({ streamId, type, data }: LogEvent): { key: string; value: number } | undefined {
  const flight = flightOf(streamId);
  switch (type) {
    case 'WaypointAdded':
    case 'WaypointUpdated':
      return { key: `waypoint ${flight} ${data.id}`, value: data.lat };
    case 'FrameResultSaved':
      return { key: `frame ${flight} ${data.frameId}`, value: data.gpsCenter.lat };
    case 'HeadingSaved':
      return { key: `heading ${flight} ${data.frameId}`, value: data.heading };
    case 'ChunkStateSaved':
      return { key: `chunk ${flight} ${data.chunkId}`, value: data.startFrameId };
    case 'FlightStateSaved':
      return { key: `state ${flight}`, value: data.framesProcessed };
    default:
      return undefined;
  }
}

const timeOf = (data: unknown): number => Date.parse((data as { timestamp: string }).timestamp);

const flightOf = (streamId: string): string => streamId.replace(/^flight-/, '');
