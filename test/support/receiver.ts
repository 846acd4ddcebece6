import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The body of a delivery. */
export interface Delivered {
  readonly type: string;
  readonly timestamp: string;
  readonly data: {
    readonly eventId: string;
    readonly streamId: string;
    readonly revision: number;
    readonly position: string;
    readonly data: Readonly<Record<string, unknown>>;
  };
}

export interface Delivery {
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly body: Delivered;
  /** What it was answered. */
  readonly status: number;
}

export interface Receiver {
  readonly url: string;
  /** All that have come, in their order. */
  readonly deliveries: readonly Delivery[];
  /** `order-a 1` of those that were taken, in their order. */
  readonly taken: () => string[];
  close(): Promise<void>;
}

/** A receiver of webhooks on loopback. `answer` says with which status; 0 for none: the connection is cut. */
export async function startReceiver(
  answer: (body: Delivered) => number | Promise<number> = () => 204,
): Promise<Receiver> {
  const deliveries: Delivery[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      const body = JSON.parse(text) as Delivered;
      const take = async () => {
        const status = await answer(body);
        deliveries.push({ headers: request.headers, text, body, status });
        if (status === 0) response.destroy();
        else response.writeHead(status).end();
      };
      take().catch(() => response.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/waylog`,
    deliveries,
    taken: () =>
      deliveries
        .filter(({ status }) => status >= 200 && status < 300)
        .map(({ body: { data } }) => `${data.streamId} ${data.revision}`),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
