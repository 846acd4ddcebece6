import { EventStoreDBClient, jsonEvent, STREAM_EXISTS } from '@eventstore/db-client';
import { frame } from '../samples.js';
import type { Writer } from './peer.js';

/** The official client alone: one append per call, of an event of the same size, to a stream for each flight. */
export async function eventStoreDbClient(eventStore: string, flights: readonly string[]): Promise<Writer> {
  const client = EventStoreDBClient.connectionString(eventStore);
  const run = crypto.randomUUID();
  const streamOf = (flightId: string) => `bench_${run}_${flightId}`;
  const event = (n: number) =>
    jsonEvent({ type: 'FrameResultSaved', data: { ...frame(n) }, metadata: { n, run } });
  // Like Waylog: with credentials the client makes one call per append, without any it puts all into one stream.
  const options = { credentials: { username: 'admin', password: 'changeit' } };
  await Promise.all(flights.map((id) => client.appendToStream(streamOf(id), event(0), options)));
  return {
    name: 'the client alone',
    write: (flightId, _caller, n) =>
      client.appendToStream(streamOf(flightId), event(n), { ...options, expectedRevision: STREAM_EXISTS }),
    close: () => client.dispose(),
  };
}
