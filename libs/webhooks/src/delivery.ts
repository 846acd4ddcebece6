import { lookup as lookUp } from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import type { LookupFunction } from 'node:net';
import { messageOf } from '#lib/platform';
import { badUrl, mayConnect, refusal, type Networks } from './addresses.js';
import type { WebhookBody } from './message.js';
import { signatures, type Signing } from './signing.js';

/** Where and how to deliver. */
export interface Endpoint {
  readonly url: string;
  readonly signing: Signing;
  /** Those that sign: the newest first, and for a while after a rotation the one before it. */
  readonly keys: readonly Buffer[];
}

export interface DelivererOptions {
  /** What webhooks may reach beside the public internet. */
  readonly allowed: Networks;
  readonly userAgent: string;
  /** For name, connection, request and answer together; default 15 s. */
  readonly timeoutMs?: number;
}

/** More of an answer is not read. */
const MAX_ANSWER_BYTES = 16 * 1024;

const ANSWER_ENDS_WITHIN_MS = 2_000;

/** How many connections to one receiver stay open between deliveries. */
const KEPT_CONNECTIONS = 8;

/** Sends webhooks. An address is checked whenever one is connected to, so that a name cannot stand for another one later. */
export class Deliverer {
  readonly #options: Required<DelivererOptions>;
  readonly #agents = {
    'http:': new http.Agent({ keepAlive: true, maxFreeSockets: KEPT_CONNECTIONS }),
    'https:': new https.Agent({ keepAlive: true, maxFreeSockets: KEPT_CONNECTIONS }),
  };

  constructor(options: DelivererOptions) {
    this.#options = { timeoutMs: 15_000, ...options };
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  /**
   * Delivers a message, and returns the status of the answer, whatever it is. `id` is the same at each attempt. Throws if there
   * is no answer; the error names host and reason, and neither the rest of the URL nor what was sent.
   */
  async deliver(endpoint: Endpoint, id: string, content: WebhookBody, signal: AbortSignal): Promise<number> {
    const { allowed, userAgent, timeoutMs } = this.#options;
    const bad = badUrl(endpoint.url, allowed);
    if (bad !== undefined) throw new Error(`Its address ${bad}.`);
    const url = new URL(endpoint.url);
    const isEncrypted = url.protocol === 'https:';
    const body = JSON.stringify(content);
    const timestamp = Math.floor(Date.now() / 1_000);
    const ended = new AbortController();
    const stop = () => ended.abort(new Error('The delivery was interrupted.'));
    const timer = setTimeout(
      () => ended.abort(new Error(`${url.host} has not answered within ${timeoutMs / 1_000} s.`)),
      timeoutMs,
    );
    signal.addEventListener('abort', stop, { once: true });
    const options: https.RequestOptions = {
      method: 'POST',
      agent: this.#agents[isEncrypted ? 'https:' : 'http:'],
      lookup: this.#checkedLookup(isEncrypted),
      signal: ended.signal,
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'user-agent': userAgent,
        'webhook-id': id,
        'webhook-timestamp': String(timestamp),
        'webhook-signature': signatures(endpoint.signing, endpoint.keys, { id, timestamp, body }),
      },
    };
    // Whatever becomes of the request: a delivery that never ends would hold up all that come after it.
    const end = new Promise<never>((_, reject) => {
      ended.signal.addEventListener('abort', () => reject(ended.signal.reason as Error), { once: true });
    });
    if (signal.aborted) stop();
    try {
      return await Promise.race([answerTo(url, options, body), end]);
    } catch (error) {
      const { signal: end } = ended;
      throw new Error(end.aborted ? messageOf(end.reason) : `${url.host}: ${reasonOf(error)}`, {
        cause: error,
      });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }

  /** As `dns.lookup`, with only those addresses that may be connected to. */
  #checkedLookup(isEncrypted: boolean): LookupFunction {
    const { allowed } = this.#options;
    return (hostname, options, callback) => {
      lookUp(hostname, { ...options, all: true }, (error, found) => {
        if (error) {
          callback(error, []);
          return;
        }
        const may = found.filter(({ address }) => mayConnect(address, isEncrypted, allowed));
        const [first] = may;
        if (!first) callback(new Error(refusal(hostname)), []);
        else if (options.all) callback(null, may);
        else callback(null, first.address, first.family);
      });
    };
  }
}

/** The status of the answer. Redirects are not followed: only the address that was registered was agreed to. */
function answerTo(url: URL, options: https.RequestOptions, body: string, isRepeat = false): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).request(url, options, (answer) => {
      resolve(answer.statusCode ?? 0);
      // Read to its end, so that the connection can be used again, if it is short and comes soon.
      let bytes = 0;
      const timer = setTimeout(() => answer.destroy(), ANSWER_ENDS_WITHIN_MS);
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_ANSWER_BYTES) answer.destroy();
      });
      answer.on('error', () => undefined);
      answer.once('close', () => clearTimeout(timer));
    });
    // It wants to speak another protocol, which is no answer to a message. Node leaves the connection to whoever listens.
    request.on('upgrade', (answer, socket) => {
      socket.destroy();
      resolve(answer.statusCode ?? 0);
    });
    request.on('error', (error: NodeJS.ErrnoException) => {
      // The receiver has closed a kept connection in the moment in which it was used again.
      if (request.reusedSocket && error.code === 'ECONNRESET' && !isRepeat)
        answerTo(url, options, body, true).then(resolve, reject);
      else reject(error);
    });
    request.end(body);
  });
}

/** Several addresses can have failed, each with its reason. */
const reasonOf = (error: unknown): string => {
  const { errors } = error as { readonly errors?: readonly unknown[] };
  return errors?.map(messageOf).join('; ') ?? messageOf(error);
};
