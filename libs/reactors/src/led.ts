import type pg from 'pg';
import { Background, backoffDelay, pause } from '#lib/platform';
import type { Position } from '#lib/event-store';
import {
  connectionLost,
  keepReporting,
  lead,
  Trouble,
  type ProjectorLog,
  type ProjectorState,
  type ProjectorStatus,
} from '#lib/projections';
import { failureText } from './failures.js';

export interface LedOptions {
  readonly kind: 'reactor' | 'deadline';
  readonly name: string;
  readonly pool: pg.Pool;
  readonly connectionString: string;
  readonly log: ProjectorLog;
  readonly standbyIntervalMs?: number | undefined;
}

const MAX_BACKOFF_MS = 2_000;

/** The name of the lead of a reactor or a deadline, among those of projectors. */
export const lockOf = (reactor: string): string => `reactor:${reactor}`;

/** Work that one process at a time does: it takes the lead, reports how it is, and begins again after a failure. */
export class Led {
  state: ProjectorState = 'stopped';
  /** Up to where it has acted on the log, if that is what it acts on. */
  position: Position | undefined;
  /** What this process has done. */
  acted = 0;
  readonly trouble: Trouble;
  readonly #reporting: Trouble;
  readonly #background = new Background((signal) => this.#run(signal));
  #lastError: ProjectorStatus['lastError'];

  /** `work` is called again whenever it ends, as long as this process leads. It ends soon after its signal is aborted. */
  constructor(
    private readonly options: LedOptions,
    private readonly work: (client: pg.Client, signal: AbortSignal) => Promise<void>,
  ) {
    const { kind, name, log } = options;
    this.trouble = new Trouble(`${kind === 'reactor' ? 'Reactor' : 'Deadline'} ${name}`, log);
    this.#reporting = new Trouble(`Recording the status of ${kind} ${name}`, log);
  }

  get status(): ProjectorStatus {
    const { state, position, acted: eventsFolded } = this;
    return { state, position, eventsFolded, lastError: this.#lastError };
  }

  start(): void {
    this.#background.start();
  }

  async stop(): Promise<void> {
    await this.#background.stop();
    this.state = 'stopped';
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#lead(signal);
      } catch (error) {
        this.#fail(error);
        this.trouble.failed(error);
        await pause(backoffDelay(this.trouble.failures, 100, MAX_BACKOFF_MS), signal);
      }
    }
    this.trouble.end();
    this.#reporting.end();
  }

  #fail(error: unknown): void {
    this.state = 'failed';
    this.#lastError = { message: failureText(error), at: new Date().toISOString() };
  }

  #lead(signal: AbortSignal): Promise<void> {
    const { kind, name, pool, connectionString, standbyIntervalMs = 500 } = this.options;
    const options = {
      name: lockOf(name),
      applicationName: `waylog ${kind} ${name}`.slice(0, 63),
      connectionString,
      standbyIntervalMs,
      statementTimeoutMs: 30_000,
      onStandby: () => {
        this.state = 'standby';
      },
      signal,
    };
    return lead(options, async (client, going) => {
      const reporting = keepReporting({
        pool,
        name: lockOf(name),
        leader: client,
        status: () => this.status,
        trouble: this.#reporting,
      });
      try {
        while (!going.aborted) await this.work(client, going);
        if (!signal.aborted) throw connectionLost();
      } catch (error) {
        // Before the last report of this lead.
        this.#fail(error);
        throw error;
      } finally {
        await reporting.end();
      }
    });
  }
}
