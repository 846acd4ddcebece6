import { frame } from '../samples.js';
import { CONNECTIONS, peers, type OpenWriter } from './peer.js';

interface EmmettStore {
  appendToStream(
    stream: string,
    events: readonly object[],
    options?: { expectedStreamVersion?: bigint },
  ): Promise<{ nextExpectedStreamVersion: bigint }>;
  aggregateStream<State>(
    stream: string,
    options: {
      evolve: (state: State, event: { type: string; data: object }) => State;
      initialState: () => State;
    },
  ): Promise<{ state: State }>;
  schema: { migrate(): Promise<unknown> };
  close(): Promise<void>;
}

/** The PostgreSQL event store of Emmett, with its schema in place. */
export async function emmettStore(url: string): Promise<EmmettStore> {
  const { emmettPostgres, pg } = await peers<{
    emmettPostgres: { getPostgreSQLEventStore: (url: string, options?: object) => EmmettStore };
    pg: { Pool: new (options: object) => { end(): Promise<void> } };
  }>();
  const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS });
  const store = emmettPostgres.getPostgreSQLEventStore(url, { connectionOptions: { pool } });
  await store.schema.migrate();
  return {
    ...store,
    close: async () => {
      await store.close();
      await pool.end();
    },
  };
}

/** appendToStream with one event; each stream's next version is known if one caller owns it. */
export const emmett: OpenWriter = async (url, flights) => {
  const store = await emmettStore(url);
  const versions = new Map<string, bigint>();
  const owned = flights.length > 1;
  return {
    name: 'Emmett 0.42',
    write: async (flightId, _caller, n) => {
      const expected = owned ? versions.get(flightId) : undefined;
      for (;;) {
        try {
          const { nextExpectedStreamVersion } = await store.appendToStream(
            `flight-${flightId}`,
            [{ type: 'FrameResultSaved', data: frame(n) }],
            expected === undefined ? undefined : { expectedStreamVersion: expected },
          );
          versions.set(flightId, nextExpectedStreamVersion);
          return;
        } catch (error) {
          // On a stream that other clients write to it refuses even without an expected version; its command handler
          // retries.
          if (owned || (error as { errorCode?: number }).errorCode !== 412) throw error;
        }
      }
    },
    close: () => store.close(),
  };
};
