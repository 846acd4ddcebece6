import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { backoffDelay } from './retry.js';
import { endClient, openSession } from './session.js';

type Wake = (payload: string) => void;

/**
 * The connection only listens, and would never notice a dead server: so it sends a query, and waits some time for the
 * answer.
 */
const PING_INTERVAL_MS = 10_000;
const PING_TIMEOUT_MS = 5_000;

/**
 * One LISTEN connection for a whole process. A notification is only a hint: it can be lost with the connection, so
 * every listener polls as well. After a reconnect every listener is woken once, with an empty payload.
 */
export class Listener {
  readonly #channels = new Map<string, Set<Wake>>();
  readonly #stop = new AbortController();
  readonly #isStopped = (): boolean => this.#stop.signal.aborted;
  #client: pg.Client | undefined;
  #running: Promise<void> | undefined;

  constructor(
    private readonly connectionString: string,
    private readonly applicationName: string,
    /** Called when the connection cannot be made or is lost; it is then made again, and polling continues meanwhile. */
    private readonly onLost: (error: unknown) => void = () => undefined,
  ) {}

  /** Calls `wake` for every notification on the channel until the returned function is called. */
  on(channel: string, wake: Wake): () => void {
    let wakes = this.#channels.get(channel);
    if (!wakes) this.#channels.set(channel, (wakes = new Set()));
    const isNew = wakes.size === 0;
    wakes.add(wake);
    this.#running ??= this.#run();
    if (isNew) this.#client?.query(`listen ${pg.escapeIdentifier(channel)}`).catch(() => undefined);
    return () => wakes.delete(wake);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    if (this.#client) await endClient(this.#client);
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted;) {
      let client: pg.Client | undefined;
      let ping: NodeJS.Timeout | undefined;
      try {
        // From here on `on()` listens to new channels itself; listening twice is harmless.
        const session =
          (client =
          this.#client =
            await openSession({
              connectionString: this.connectionString,
              applicationName: `${this.applicationName} listener`,
            }));
        ping = setInterval(() => {
          session
            .query({ text: 'select 1', query_timeout: PING_TIMEOUT_MS } as pg.QueryConfig)
            .catch(() => endClient(session));
        }, PING_INTERVAL_MS);
        const ended = new Promise<void>((resolve) => {
          session.once('end', resolve);
          session.on('error', () => resolve());
        });
        session.on('notification', ({ channel, payload }) => this.#wake(channel, payload ?? ''));
        for (const channel of this.#channels.keys())
          await session.query(`listen ${pg.escapeIdentifier(channel)}`);
        failures = 0;
        for (const channel of this.#channels.keys()) this.#wake(channel, '');
        if (this.#isStopped()) await endClient(session);
        await ended;
        if (!this.#isStopped()) this.onLost(new Error('the connection was lost'));
      } catch (error) {
        failures++;
        if (!this.#isStopped()) this.onLost(error);
      } finally {
        clearInterval(ping);
        this.#client = undefined;
        if (client) await endClient(client);
      }
      if (!this.#isStopped()) {
        await sleep(backoffDelay(Math.max(failures, 1), 100, 5_000), undefined, { signal }).catch(
          () => undefined,
        );
      }
    }
  }

  #wake(channel: string, payload: string): void {
    for (const wake of this.#channels.get(channel) ?? []) {
      try {
        wake(payload);
      } catch (error) {
        // Anyone can notify anything; it must not end the process.
        this.onLost(error);
      }
    }
  }
}
