import {
  Logger,
  Module,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleDestroy,
} from '@nestjs/common';
import { CommandBus, CqrsModule, QueryBus } from '@nestjs/cqrs';
import pg from 'pg';
import {
  conflict,
  createPool,
  failureOf,
  invalidInput,
  Listener,
  MAX_ANSWER_BYTES,
  messageOf,
  pause,
  unavailable,
  WaylogError,
} from '#lib/platform';
import { DataKeys, DecisionStreams, openEventStore, type EventStore, type NewLoss } from '#lib/event-store';
import {
  CheckpointWatch,
  foldedLog,
  forgetOtherLog,
  LiveRows,
  loadOmissions,
  Projector,
} from '#lib/projections';
import { stepDown, type DatabaseAccess } from '#lib/timescale';
import { flightStreams } from './events.js';
import type { TimesWindow } from './days/times-window.js';
import { FLIGHT_PROJECTOR, flightLog, flightProjector } from './flight-projector.js';
import { FlightDatabase } from './flight-database.js';
import { FlightReads } from './flight-reads.js';
import { flightDecider } from './flight.js';
import { FrameMinutes } from './frames/frame-minutes.follower.js';
import { Flights, tell, type CommandObserver } from './flights.js';
import { commandHandlers, queryHandlers } from './handlers.js';
import { observeQueries } from './observe-queries.js';
import { flightProjections } from './projections.js';
import { flightVocabulary } from './vocabulary.js';

export interface WaylogOptions {
  /**
   * The URL of a migrated database (`waylog migrate`). Even with the owner's URL nothing works as the owner: the
   * process uses the roles that the migration created (docs/how-to/database-roles.md).
   */
  readonly databaseUrl: string;
  /** The same database with the role that keeps the tables, if `databaseUrl` has the application role. */
  readonly projectorUrl?: string | undefined;
  /** Where the log is, if not in that database: a connection string of EventStoreDB (`esdb://...`). */
  readonly eventStore?: string | undefined;
  /** Whether this process folds events into tables when it has the lead; default true. One process at a time leads. */
  readonly projector?: boolean;
  /**
   * Connections to the database in pools, opened as needed; default 50, at least 3. A fifth of them, at most 10, is for
   * the log, as many are for keeping the tables, and the others are for queries.
   */
  readonly poolSize?: number;
  /** More connections for queries when all others are in use; default 0. Each is closed after a minute without use. */
  readonly poolOverflow?: number;
  /** How long a caller waits for a connection before it gets `database.unavailable`, in milliseconds; default 5,000. */
  readonly poolTimeoutMs?: number;
  /** The age at which a connection is replaced by a new one, in seconds; default 3,600. */
  readonly poolRecycleSeconds?: number;
  /** How many commands can wait before more are refused with `commands.overloaded`; default 10,000. */
  readonly maxPendingCommands?: number;
  /** The memory for the states that commands are decided on. */
  readonly decisionCacheBytes?: number;
  /** The most different days (UTC) that the frames and headings of one flight can be on; default 100. */
  readonly flightDays?: number;
  /** The times that frames and headings can have; default from 1970 to a year ahead of the clock. */
  readonly times?: TimesWindow;
  /** Called for every command with its type, its outcome and its duration. */
  readonly onCommand?: CommandObserver;
  /** Called for every query in the same way. */
  readonly onQuery?: CommandObserver;
  /** Shown in pg_stat_activity; default `waylog`. */
  readonly applicationName?: string;
  /** Whether a start waits for a log that does not answer; otherwise it fails. Default true. */
  readonly waitForLog?: boolean;
  /**
   * How long a stop can take, in milliseconds; default 20,000. In its second half no command waits for a log in
   * EventStoreDB.
   */
  readonly stopTimeoutMs?: number;
}

/** The log, for injection. */
export const EVENT_STORE = Symbol('EVENT_STORE');

/** The roles that this process works as, for injection: a DatabaseAccess. */
export const DATABASE_ACCESS = Symbol('DATABASE_ACCESS');

/**
 * Connections of the application role for the log and for the first query of each command, for injection. Queries of
 * tables use `pg.Pool` and never take these: when all of those wait for a lock, commands continue.
 */
export const LOG_POOL = Symbol('LOG_POOL');

/** Connections as the role that keeps the tables, for injection: for projectors and for operators' tasks. */
export const TABLES_POOL = Symbol('TABLES_POOL');

/** The time between two checks whether an unavailable log answers again. */
const WAIT_MS = 500;

/** How many of the connections are for the log, and how many for keeping the tables. */
const aFifth = (poolSize: number): number => Math.max(1, Math.min(10, Math.floor(poolSize / 5)));

/**
 * Waylog in a NestJS application: `imports: [WaylogModule.forRoot({ databaseUrl })]`, then `commandBus.execute(new
 * UpdateWaypoint(...))`, `queryBus.execute(new GetFlight(...))`, or FlightDatabase. Call `app.enableShutdownHooks()`,
 * so that a stop waits for the commands in progress.
 */
@Module({})
export class WaylogModule {
  static forRoot(options: WaylogOptions): DynamicModule {
    const {
      databaseUrl,
      projectorUrl,
      applicationName = 'waylog',
      poolSize = 50,
      poolOverflow = 0,
    } = options;
    const log = new Logger('Waylog');
    const told = (observer: CommandObserver) =>
      tell(observer, (error) =>
        log.warn(`An observer has failed, and what it was told of has not: ${messageOf(error)}`),
      );
    const connect = (connectionString: string, size: number, readOnly = false) =>
      createPool({
        connectionString,
        size,
        readOnly,
        applicationName,
        statementTimeoutMs: 30_000,
        connectTimeoutMs: options.poolTimeoutMs ?? 5_000,
        ...(options.poolRecycleSeconds !== undefined && { maxAgeSeconds: options.poolRecycleSeconds }),
        onIdleError: (error) => log.warn(`A connection to the database was lost: ${error.message}`),
      });
    return {
      module: WaylogModule,
      global: true,
      imports: [CqrsModule.forRoot()],
      providers: [
        {
          provide: DATABASE_ACCESS,
          useFactory: async () => {
            const access = await migratedDatabase({ databaseUrl, projectorUrl });
            for (const warning of access.warnings) log.warn(warning);
            return access;
          },
        },
        {
          // For queries. The role that keeps the tables could replace one with a policy or a view, whose code would run
          // as the role that reads it. So queries use that same role, not the one that can append and see keys
          // (docs/decisions/0021).
          provide: pg.Pool,
          inject: [DATABASE_ACCESS],
          useFactory: ({ projector }: DatabaseAccess) =>
            connect(projector.url, Math.max(1, poolSize - 2 * aFifth(poolSize)) + poolOverflow, true),
        },
        {
          provide: LOG_POOL,
          inject: [DATABASE_ACCESS],
          useFactory: ({ app }: DatabaseAccess) => connect(app.url, aFifth(poolSize)),
        },
        {
          provide: TABLES_POOL,
          inject: [DATABASE_ACCESS],
          useFactory: (access: DatabaseAccess) => connect(access.projector.url, aFifth(poolSize)),
        },
        {
          provide: Listener,
          inject: [DATABASE_ACCESS],
          useFactory: ({ app }: DatabaseAccess) =>
            new Listener(app.url, applicationName, (error) =>
              log.warn(`Notifications are interrupted, polling goes on: ${messageOf(error)}`),
            ),
        },
        { provide: DataKeys, inject: [LOG_POOL], useFactory: (pool: pg.Pool) => new DataKeys(pool) },
        {
          provide: EVENT_STORE,
          inject: [LOG_POOL, Listener, DataKeys],
          useFactory: (pool: pg.Pool, listener: Listener, keys: DataKeys): Promise<EventStore> =>
            openEventStore({
              eventStore: options.eventStore,
              pool,
              listener,
              vocabulary: flightVocabulary,
              keys,
              onWarning: (message) => log.warn(message),
              onLoss: (loss) => log.error(lossText(loss)),
              folded: () => foldedLog(pool),
            }),
        },
        {
          provide: Flights,
          inject: [EVENT_STORE],
          useFactory: (store: EventStore) =>
            new Flights(
              new DecisionStreams({
                store,
                decider: flightDecider,
                category: flightStreams.name,
                upcasters: flightVocabulary[flightStreams.name]?.upcasters ?? {},
                ...(options.maxPendingCommands !== undefined && { maxPending: options.maxPendingCommands }),
                ...(options.decisionCacheBytes !== undefined && { cacheBytes: options.decisionCacheBytes }),
                onWarning: (message, error) =>
                  log.warn(error === undefined ? message : `${message}: ${messageOf(error)}`),
              }),
              options.onCommand && told(options.onCommand),
              options.flightDays,
              undefined,
              options.times,
            ),
        },
        {
          provide: Projector,
          inject: [EVENT_STORE, TABLES_POOL, DATABASE_ACCESS],
          useFactory: (store: EventStore, pool: pg.Pool, access: DatabaseAccess) =>
            new Projector({
              name: FLIGHT_PROJECTOR,
              projections: flightProjections,
              followers: flightProjector.followers,
              store: flightLog(store),
              pool,
              connectionString: access.projector.url,
              followsBack: options.eventStore !== undefined,
              log: { info: (message) => log.log(message), warn: (message) => log.warn(message) },
            }),
        },
        {
          provide: CheckpointWatch,
          inject: [pg.Pool, Listener, EVENT_STORE],
          useFactory: (pool: pg.Pool, listener: Listener, store: EventStore) =>
            new CheckpointWatch(pool, listener, flightLog(store), {
              projector: FLIGHT_PROJECTOR,
              names: projectionNames,
            }),
        },
        {
          provide: FrameMinutes,
          inject: [EVENT_STORE, TABLES_POOL, Listener, DATABASE_ACCESS],
          useFactory: (store: EventStore, pool: pg.Pool, listener: Listener, access: DatabaseAccess) =>
            new FrameMinutes({
              store: flightLog(store),
              pool,
              listener,
              connectionString: access.projector.url,
              log: { info: (message) => log.log(message), warn: (message) => log.warn(message) },
            }),
        },
        {
          provide: FlightReads,
          inject: [EVENT_STORE, CheckpointWatch, pg.Pool],
          useFactory: (store: EventStore, watch: CheckpointWatch, pool: pg.Pool) =>
            new FlightReads(store, watch, new LiveRows(pool, MAX_ANSWER_BYTES), () =>
              loadOmissions(pool, FLIGHT_PROJECTOR),
            ),
        },
        {
          provide: FlightDatabase,
          inject: [CommandBus, QueryBus],
          useFactory: (commands: CommandBus, queries: QueryBus) => {
            if (options.onQuery) observeQueries(queries, told(options.onQuery));
            return new FlightDatabase(commands, queries);
          },
        },
        {
          provide: WaylogLifecycle,
          inject: [
            LOG_POOL,
            pg.Pool,
            TABLES_POOL,
            Listener,
            EVENT_STORE,
            Flights,
            Projector,
            FrameMinutes,
            CheckpointWatch,
          ],
          useFactory: (
            log: pg.Pool,
            queries: pg.Pool,
            tables: pg.Pool,
            listener: Listener,
            store: EventStore,
            flights: Flights,
            projector: Projector,
            minutes: FrameMinutes,
            watch: CheckpointWatch,
          ) =>
            new WaylogLifecycle(
              { log, queries, tables },
              listener,
              store,
              flights,
              projector,
              minutes,
              watch,
              options.projector ?? true,
              options.stopTimeoutMs ?? 20_000,
              options.waitForLog ?? true,
            ),
        },
        ...commandHandlers,
        ...queryHandlers,
      ],
      exports: [
        CqrsModule,
        DATABASE_ACCESS,
        EVENT_STORE,
        FlightDatabase,
        FlightReads,
        Flights,
        Projector,
        FrameMinutes,
        CheckpointWatch,
        pg.Pool,
        LOG_POOL,
        TABLES_POOL,
      ],
    };
  }
}

/**
 * Like `stepDown`. Throws `config.invalid`, `database.unavailable` and `schema.missing` for a database that cannot be
 * used.
 */
async function migratedDatabase(urls: {
  readonly databaseUrl: string;
  readonly projectorUrl?: string | undefined;
}): Promise<DatabaseAccess> {
  if (!urls.databaseUrl)
    throw invalidInput(
      [
        {
          field: 'databaseUrl',
          message:
            'is missing: give the URL of a migrated database, such as postgres://user:password@host:5432/waylog',
        },
      ],
      'config.invalid',
    );
  const access = await stepDown(urls).catch((error: unknown) => {
    throw failureOf(error);
  });
  if (access.isMigrated) return access;
  throw conflict(
    'schema.missing',
    'The database has no schema of Waylog yet. Run `waylog migrate` with its URL in DATABASE_URL, then start again.',
  );
}

const projectionNames = flightProjections.map(({ name }) => name);

const lossText = ({ keptPosition, seenPosition, events, commands, streams }: NewLoss): string =>
  `The log went back: it holds nothing after position ${keptPosition} of what had come up to position ${seenPosition}. ` +
  `${events === undefined ? 'Events' : `${events} events`} are gone, and with them ` +
  `${commands === undefined ? 'commands' : `${commands} commands`} that this process had answered, of ${streams.length} streams. ` +
  `Clients that repeat them with their command ids bring them back. See \`waylog log losses\`.`;

const stopped = () =>
  unavailable('start.stopped', 'Waylog was told to stop before it had started. Nothing was begun.');

/** Starts the projector and the rollups with the application. A stop first finishes what has been accepted. */
export class WaylogLifecycle implements OnApplicationBootstrap, OnModuleDestroy, OnApplicationShutdown {
  readonly #stopping = new AbortController();
  #givingUp: NodeJS.Timeout | undefined;
  #ended: Promise<void> | undefined;

  constructor(
    private readonly pools: Readonly<Record<'log' | 'queries' | 'tables', pg.Pool>>,
    private readonly listener: Listener,
    private readonly store: EventStore,
    private readonly flights: Flights,
    private readonly projector: Projector,
    private readonly minutes: FrameMinutes,
    private readonly watch: CheckpointWatch,
    private readonly projects: boolean,
    private readonly stopTimeoutMs: number,
    private readonly waitForLog: boolean,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    let isOther: boolean;
    try {
      isOther = await this.#onceItAnswers(() =>
        forgetOtherLog(this.pools.log, [{ store: flightLog(this.store), projector: FLIGHT_PROJECTOR }]),
      );
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
    if (!this.projects) return;
    this.projector.start();
    this.minutes.start();
  }

  /** A log without a leader is no reason to restart repeatedly. */
  async #onceItAnswers<T>(ask: () => Promise<T>): Promise<T> {
    for (let isWaiting = false; ; isWaiting = true) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof WaylogError) || error.code !== 'database.unavailable') throw error;
        if (!this.waitForLog || this.#stopping.signal.aborted) throw error;
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
      this.store
        .close()
        .catch((error: unknown) =>
          new Logger('Waylog').warn(`The log was not let go in good order: ${messageOf(error)}`),
        );
    }, this.stopTimeoutMs / 2).unref();
  }

  /**
   * Runs after the HTTP server, if there is one, has answered its last request. A start that fails calls it, and so
   * does the stop that may have made it fail: both wait for the same end.
   */
  onApplicationShutdown(signal?: string): Promise<void> {
    return (this.#ended ??= this.#end(signal));
  }

  async #end(signal?: string): Promise<void> {
    const log = new Logger('Waylog');
    log.log(
      `Stopping${signal ? ` after ${signal}` : ''}: ${this.flights.streams.pending} commands are still to be answered`,
    );
    await this.flights.streams.drain();
    await this.minutes.close();
    clearTimeout(this.#givingUp);
    await this.store.close();
    await this.projector.stop();
    this.watch.close();
    await this.listener.close();
    await Promise.all(Object.values(this.pools).map((pool) => pool.end()));
    log.log('Stopped');
  }
}
