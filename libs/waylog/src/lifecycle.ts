import {
  Logger,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleDestroy,
} from '@nestjs/common';
import type pg from 'pg';
import {
  messageOf,
  pause,
  sqlStateOf,
  SqlState,
  unavailable,
  WaylogError,
  type Listener,
} from '#lib/platform';
import type { EventStore } from '#lib/event-store';
import { changedTables, forgetOtherLog, refuseChanged } from '#lib/projections';
import type { RunningContexts } from './running-contexts.js';
import { missingTables } from './tables-of.js';

/** The time between two checks whether an unavailable log answers again. */
const WAIT_MS = 500;

export interface LifecycleOptions {
  readonly pools: Readonly<Record<'log' | 'queries' | 'tables', pg.Pool>>;
  readonly listener: Listener;
  readonly store: EventStore;
  readonly contexts: RunningContexts;
  /** Whether this process folds events into tables when it has the lead. */
  readonly projects: boolean;
  readonly stopTimeoutMs: number;
  readonly waitForLog: boolean;
}

/** Starts projectors and their followers with the application. A stop first finishes what has been accepted. */
export class WaylogLifecycle implements OnApplicationBootstrap, OnModuleDestroy, OnApplicationShutdown {
  readonly #stopping = new AbortController();
  #givingUp: NodeJS.Timeout | undefined;
  #ended: Promise<void> | undefined;

  constructor(private readonly options: LifecycleOptions) {}

  async onApplicationBootstrap(): Promise<void> {
    const { pools, contexts, projects } = this.options;
    let isOther: boolean;
    try {
      const parts = contexts.all.map(({ context, log }) => ({ store: log, projector: context.name }));
      isOther = await this.#onceItAnswers(async () => {
        await this.#refuseMissingTables();
        if (projects) await this.#refuseChangedTables();
        return forgetOtherLog(pools.log, parts).catch(asBehind);
      });
    } catch (error) {
      // The caller gets no application to close: what is open would keep the process alive.
      await this.onApplicationShutdown();
      throw error;
    }
    // If a stop came meanwhile, start nothing: it would continue after the stop.
    if (this.#stopping.signal.aborted) throw stopped();
    if (isOther)
      new Logger('Waylog').log(
        'The log is not the one that the tables are folded from; snapshots are let go',
      );
    if (!projects) return;
    for (const { context, projector, followers } of contexts.all) {
      // Without tables there is nothing to fold.
      if (context.projections.length > 0) projector.start();
      for (const follower of followers) follower.start();
    }
  }

  /** Throws `schema.behind`: a projector could not write, and reads would fail with errors that say less. */
  async #refuseMissingTables(): Promise<void> {
    const { pools, contexts } = this.options;
    const missing = await missingTables(contexts.declared, pools.tables);
    if (missing.length === 0) return;
    throw unavailable(
      'schema.behind',
      `The database lacks the tables ${missing.join(', ')}. Run \`waylog migrate\` of the application that has these contexts, and start again.`,
    );
  }

  /** Throws `projection.changed`. Others go on: a command that rebuilds such a table must start. */
  async #refuseChangedTables(): Promise<void> {
    const { pools, contexts } = this.options;
    for (const { name, projections } of contexts.declared)
      refuseChanged(await changedTables(pools.tables, name, projections).catch(asBehind));
  }

  /** A log without a leader is no reason to restart repeatedly. */
  async #onceItAnswers<T>(ask: () => Promise<T>): Promise<T> {
    for (let isWaiting = false; ; isWaiting = true) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof WaylogError) || error.code !== 'database.unavailable') throw error;
        if (!this.options.waitForLog || this.#stopping.signal.aborted) throw error;
        if (!isWaiting)
          new Logger('Waylog').warn(`The start waits until the log answers. ${messageOf(error)}`);
        await pause(WAIT_MS, this.#stopping.signal);
      }
    }
  }

  /** Runs before the stop waits for anything: the last answers may wait for a log that does not answer. */
  onModuleDestroy(): void {
    this.#stopping.abort();
    this.#givingUp = setTimeout(() => {
      this.options.store
        .close()
        .catch((error: unknown) =>
          new Logger('Waylog').warn(`The log was not let go in good order: ${messageOf(error)}`),
        );
    }, this.options.stopTimeoutMs / 2).unref();
  }

  /**
   * Runs after the HTTP server, if there is one, has answered its last request. A start that fails calls it, and so
   * does the stop that may have made it fail: both wait for the same end.
   */
  onApplicationShutdown(signal?: string): Promise<void> {
    return (this.#ended ??= this.#end(signal));
  }

  async #end(signal?: string): Promise<void> {
    const { pools, listener, store, contexts } = this.options;
    const log = new Logger('Waylog');
    log.log(
      `Stopping${signal ? ` after ${signal}` : ''}: ${contexts.room.pending} commands are still to be answered`,
    );
    await Promise.all(contexts.streams.map((streams) => streams.drain()));
    await Promise.all(contexts.all.flatMap(({ followers }) => followers.map((follower) => follower.close())));
    clearTimeout(this.#givingUp);
    await store.close();
    await Promise.all(contexts.all.map(({ projector }) => projector.stop()));
    for (const { watch } of contexts.all) watch.close();
    await listener.close();
    await Promise.all(Object.values(pools).map((pool) => pool.end()));
    log.log('Stopped');
  }
}

const stopped = () =>
  unavailable('start.stopped', 'Waylog was told to stop before it had started. Nothing was begun.');

/** Bookkeeping of an older version lacks columns, or whole tables. */
function asBehind(error: unknown): never {
  const state = sqlStateOf(error);
  if (state !== SqlState.undefinedColumn && state !== SqlState.undefinedTable) throw error;
  throw unavailable(
    'schema.behind',
    `The database is of an older version (${messageOf(error)}). Run \`waylog migrate\` of the application that has these contexts, and start again.`,
    {},
    error,
  );
}
