import pg from 'pg';
import { frame } from '../samples.js';
import { CONNECTIONS, peers, type OpenWriter } from './peer.js';

interface DcbStore {
  ensureInstalled(): Promise<void>;
  append(command: object): Promise<unknown>;
}
interface Packages {
  dcb: {
    Query: { fromItems(items: object[]): object };
    Tags: { fromObj(tags: object): object };
  };
  dcbPostgres: { PostgresEventStore: new (options: object) => DcbStore };
}

/**
 * Appends with the condition that no other client wrote to the flight, if one caller owns it; otherwise without one.
 */
export const dcbEventStore: OpenWriter = async (url, flights) => {
  const { dcb, dcbPostgres } = await peers<Packages>();
  const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS });
  const store = new dcbPostgres.PostgresEventStore({ pool });
  await store.ensureInstalled();
  const owned = flights.length > 1;
  const last = new Map<string, unknown>();
  return {
    name: 'dcb-event-store 7.0',
    write: async (flightId, _caller, n) => {
      const tags = dcb.Tags.fromObj({ flight: flightId });
      const after = last.get(flightId);
      const position = await store.append({
        events: [{ type: 'frameResultSaved', tags, data: frame(n), metadata: {} }],
        ...(owned && {
          condition: {
            failIfEventsMatch: dcb.Query.fromItems([{ tags, types: ['frameResultSaved'] }]),
            ...(after !== undefined && { after }),
          },
        }),
      });
      last.set(flightId, position);
    },
    close: () => pool.end(),
  };
};
