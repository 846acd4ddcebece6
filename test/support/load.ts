import { setTimeout as sleep } from 'node:timers/promises';
import { aFlight, aFrame, at, aWaypoint } from './samples.js';
import type { HttpClient } from './server.js';

/** One write of a client: sent with its key repeatedly until it is acknowledged. */
interface Write {
  readonly key: string;
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

export interface Client {
  /** The keys that were answered with success. */
  readonly acknowledged: string[];
  /** Answers other than success and 503, which a correct client never gets. */
  readonly refused: { readonly key: string; readonly status: number; readonly body: unknown }[];
  stop(): void;
  readonly done: Promise<void>;
}

/**
 * A client that writes to one flight without a pause. If the server is down, or answers 503, it sends the same write
 * with the same Idempotency-Key again, as any careful client does.
 */
export function writingClient(flightId: string, server: () => HttpClient): Client {
  const stop = new AbortController();
  const acknowledged: string[] = [];
  const refused: Client['refused'] = [];
  const done = (async () => {
    for (const write of writes(flightId)) {
      for (;;) {
        const answer = await server()
          .call(write.method, write.path, write.body, { 'idempotency-key': write.key })
          .catch(() => undefined);
        if (answer && answer.status < 300) {
          acknowledged.push(write.key);
          break;
        }
        if (answer && answer.status !== 503) {
          refused.push({ key: write.key, status: answer.status, body: answer.body });
          return;
        }
        if (stop.signal.aborted) return;
        await sleep(20);
      }
      if (stop.signal.aborted) return;
    }
  })();
  return { acknowledged, refused, done, stop: () => stop.abort() };
}

function* writes(flightId: string): Generator<Write> {
  const path = `/v1/flights/${flightId}`;
  const write = (n: number, what: string, method: string, url: string, body: unknown): Write => ({
    key: `${flightId} ${what} ${n}`,
    method,
    path: url,
    body,
  });
  yield write(0, 'create', 'POST', '/v1/flights', aFlight(flightId, 5));
  for (let n = 0; ; n++) {
    yield write(n, 'frame', 'PUT', `${path}/frames/${n}`, aFrame(n));
    yield write(n, 'heading', 'PUT', `${path}/headings/${n}`, { heading: n % 360, timestamp: at(n) });
    yield write(
      n,
      'waypoint',
      'PUT',
      `${path}/waypoints/w${n % 5}`,
      aWaypoint(n % 5, { lat: n / 100_000, refined: true }),
    );
  }
}
