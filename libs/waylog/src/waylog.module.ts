import { Logger, Module, type DynamicModule } from '@nestjs/common';
import { CqrsModule } from '@nestjs/cqrs';
import type pg from 'pg';
import { createPool, Listener, messageOf } from '#lib/platform';
import { DataKeys, openEventStore, type EventStore, type NewLoss } from '#lib/event-store';
import { Files } from '#lib/files';
import { foldedLog } from '#lib/projections';
import type { DatabaseAccess } from '#lib/timescale';
import { vocabularyOf } from './context.js';
import { EventReads } from './event-reads.js';
import { commandHandlersOf, queryHandlersOf } from './handlers.js';
import { WaylogLifecycle } from './lifecycle.js';
import { migratedDatabase } from './migrated-database.js';
import { Opened } from './opened.js';
import type { WaylogAsyncOptions, WaylogOptions } from './options.js';
import { ReactorsModule } from './reactors.module.js';
import { runContexts } from './run-contexts.js';
import { RunningContexts } from './running-contexts.js';
import { DATABASE_ACCESS, EVENT_STORE, LOG_POOL, QUERY_POOL, TABLES_POOL, WAYLOG_OPTIONS } from './tokens.js';

const DEFAULT_POOL_SIZE = 50;

/** How many of the connections are for the log, and how many for keeping the tables. */
const aFifth = (poolSize = DEFAULT_POOL_SIZE): number => Math.max(1, Math.min(10, Math.floor(poolSize / 5)));

/** As the module gives them to what it provides. */
type MadeOptions = WaylogOptions & { readonly opened: Opened };

/** Makes pools that are closed with what was opened. */
const pools =
  ({ applicationName = 'waylog', opened, ...options }: MadeOptions) =>
  (connectionString: string, size: number, readOnly = false): pg.Pool =>
    opened.add(
      createPool({
        connectionString,
        size,
        readOnly,
        applicationName,
        statementTimeoutMs: 30_000,
        connectTimeoutMs: options.poolTimeoutMs ?? 5_000,
        ...(options.poolRecycleSeconds !== undefined && { maxAgeSeconds: options.poolRecycleSeconds }),
        onIdleError: (error) => log.warn(`A connection to the database was lost: ${error.message}`),
      }),
      // The lifecycle may have ended it.
      async (pool) => pool.ending || pool.end(),
    );

const log = new Logger('Waylog');

/**
 * Waylog in a NestJS application: `imports: [WaylogModule.forRoot({ databaseUrl, contexts })]`, then
 * `commandBus.execute(...)` and `queryBus.execute(...)` with the commands and queries of the contexts. Call
 * `app.enableShutdownHooks()`, so that a stop waits for the commands in progress.
 */
@Module({})
export class WaylogModule {
  static forRoot(options: WaylogOptions): DynamicModule {
    return WaylogModule.forRootAsync({ contexts: options.contexts, useFactory: () => options });
  }

  /** As `forRoot`, with options that other providers make. What there is to provide follows from the contexts alone. */
  static forRootAsync({
    contexts,
    imports = [],
    inject = [],
    useFactory,
  }: WaylogAsyncOptions): DynamicModule {
    const vocabulary = vocabularyOf(contexts);
    const providers = contexts.flatMap((one) => one.providers);
    const followers = contexts.flatMap((one) => one.followers.map((follower) => ({ one, follower })));
    return {
      module: WaylogModule,
      global: true,
      imports: [CqrsModule.forRoot(), ReactorsModule, ...imports],
      providers: [
        {
          provide: WAYLOG_OPTIONS,
          inject: [...inject],
          useFactory: async (...made: never[]): Promise<MadeOptions> => {
            const options = await useFactory(...made);
            return { ...options, contexts, opened: options.opened ?? new Opened() };
          },
        },
        {
          provide: DATABASE_ACCESS,
          inject: [WAYLOG_OPTIONS],
          useFactory: async ({ databaseUrl, projectorUrl }: WaylogOptions) => {
            const access = await migratedDatabase({ databaseUrl, projectorUrl });
            for (const warning of access.warnings) log.warn(warning);
            return access;
          },
        },
        {
          // For queries. The role that keeps the tables could replace one with a policy or a view, whose code would run
          // as the role that reads it. So queries use that same role, not the one that can append and see keys
          // (docs/decisions/0021).
          provide: QUERY_POOL,
          inject: [WAYLOG_OPTIONS, DATABASE_ACCESS],
          useFactory: (options: MadeOptions, { projector }: DatabaseAccess) => {
            const { poolSize = DEFAULT_POOL_SIZE, poolOverflow = 0 } = options;
            return pools(options)(
              projector.url,
              Math.max(1, poolSize - 2 * aFifth(poolSize)) + poolOverflow,
              true,
            );
          },
        },
        {
          provide: LOG_POOL,
          inject: [WAYLOG_OPTIONS, DATABASE_ACCESS],
          useFactory: (options: MadeOptions, { app }: DatabaseAccess) =>
            pools(options)(app.url, aFifth(options.poolSize)),
        },
        {
          provide: TABLES_POOL,
          inject: [WAYLOG_OPTIONS, DATABASE_ACCESS],
          useFactory: (options: MadeOptions, { projector }: DatabaseAccess) =>
            pools(options)(projector.url, aFifth(options.poolSize)),
        },
        {
          provide: Listener,
          inject: [WAYLOG_OPTIONS, DATABASE_ACCESS],
          useFactory: ({ opened, applicationName = 'waylog' }: MadeOptions, { app }: DatabaseAccess) =>
            opened.add(
              new Listener(app.url, applicationName, (error) =>
                log.warn(`Notifications are interrupted, polling goes on: ${messageOf(error)}`),
              ),
              (listener) => listener.close(),
            ),
        },
        { provide: DataKeys, inject: [LOG_POOL], useFactory: (pool: pg.Pool) => new DataKeys(pool) },
        {
          provide: EVENT_STORE,
          inject: [WAYLOG_OPTIONS, LOG_POOL, Listener, DataKeys],
          useFactory: async (
            { eventStore, opened }: MadeOptions,
            pool: pg.Pool,
            listener: Listener,
            keys: DataKeys,
          ): Promise<EventStore> =>
            opened.add(
              await openEventStore({
                eventStore,
                pool,
                listener,
                vocabulary,
                keys,
                onWarning: (message) => log.warn(message),
                onLoss: (loss) => log.error(lossText(loss)),
                folded: () => foldedLog(pool),
              }),
              (store) => store.close(),
            ),
        },
        {
          provide: RunningContexts,
          inject: [WAYLOG_OPTIONS, EVENT_STORE, QUERY_POOL, TABLES_POOL, Listener, DATABASE_ACCESS, DataKeys],
          useFactory: (
            options: WaylogOptions,
            store: EventStore,
            queries: pg.Pool,
            tables: pg.Pool,
            listener: Listener,
            access: DatabaseAccess,
            keys: DataKeys,
          ) => runContexts(options, { store, queries, tables, listener, access, keys }),
        },
        {
          provide: WaylogLifecycle,
          inject: [
            ...[WAYLOG_OPTIONS, LOG_POOL, QUERY_POOL, TABLES_POOL],
            ...[Listener, EVENT_STORE, RunningContexts],
          ],
          useFactory: (
            options: WaylogOptions,
            logPool: pg.Pool,
            queries: pg.Pool,
            tables: pg.Pool,
            listener: Listener,
            store: EventStore,
            runningContexts: RunningContexts,
          ) =>
            new WaylogLifecycle({
              pools: { log: logPool, queries, tables },
              listener,
              store,
              contexts: runningContexts,
              projects: options.projector ?? true,
              stopTimeoutMs: options.stopTimeoutMs ?? 20_000,
              waitForLog: options.waitForLog ?? true,
            }),
        },
        {
          provide: Files,
          inject: [WAYLOG_OPTIONS],
          useFactory: ({ files }: WaylogOptions) => files ?? new Files(),
        },
        ...followers.map(({ one, follower }) => ({
          provide: follower.token,
          inject: [RunningContexts],
          useFactory: (runningContexts: RunningContexts) =>
            runningContexts.of(one).followers[one.followers.indexOf(follower)],
        })),
        ...providers,
        ...contexts.flatMap(commandHandlersOf),
        {
          provide: EventReads,
          inject: [EVENT_STORE],
          useFactory: (store: EventStore) => new EventReads(store),
        },
        ...queryHandlersOf(contexts),
      ],
      exports: [
        CqrsModule,
        ReactorsModule,
        WAYLOG_OPTIONS,
        DATABASE_ACCESS,
        Listener,
        EVENT_STORE,
        Files,
        RunningContexts,
        EventReads,
        QUERY_POOL,
        LOG_POOL,
        TABLES_POOL,
        ...followers.map(({ follower }) => follower.token),
        ...providers.map((provider) => ('provide' in provider ? provider.provide : provider)),
      ],
    };
  }
}

const lossText = ({ keptPosition, seenPosition, events, commands, streams }: NewLoss): string =>
  `The log went back: it holds nothing after position ${keptPosition} of what had come up to position ${seenPosition}. ` +
  `${events === undefined ? 'Events' : `${events} events`} are gone, and with them ` +
  `${commands === undefined ? 'commands' : `${commands} commands`} that this process had answered, of ${streams.length} streams. ` +
  `Clients that repeat them with their command ids bring them back. See \`waylog log losses\`.`;
