import { Agent, request } from 'node:http';
import { ADMIN_KEY } from '../support/admin-key.js';

/** The headers of every request of the suite, in one place. */
const defaultHeaders = (): Record<string, string> => ({ authorization: `Bearer ${ADMIN_KEY}` });

/** How long a client waits for an answer before it gives up, without knowing the outcome of its request. */
export const PATIENCE_MS = 4_000;

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the load looks into answers of every shape
  readonly body: any;
}

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

const agent = new Agent({ keepAlive: true, maxSockets: Infinity });

/**
 * Sends one request. Rejects if no complete answer has come, because no server listens, the connection broke, or it
 * took longer than `patienceMs`: its effect is then unknown.
 */
export function call(baseUrl: string, wanted: Call, patienceMs = PATIENCE_MS): Promise<Reply> {
  const text = wanted.body === undefined ? undefined : JSON.stringify(wanted.body);
  return new Promise((resolve, reject) => {
    const sent = request(new URL(wanted.path, baseUrl), {
      method: wanted.method,
      agent,
      signal: AbortSignal.timeout(patienceMs),
      headers: {
        ...defaultHeaders(),
        ...(text !== undefined && {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text),
        }),
        ...wanted.headers,
      },
    });
    sent.on('error', reject);
    sent.on('response', (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        // A truncated answer does not count.
        if (!response.complete) {
          reject(new Error('the answer was cut off'));
          return;
        }
        const content = Buffer.concat(parts).toString();
        const isJson = response.headers['content-type']?.includes('json') && content !== '';
        try {
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: isJson ? JSON.parse(content) : content,
          });
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
    });
    sent.end(text);
  });
}
