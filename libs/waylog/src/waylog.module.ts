import { Logger, Module, type DynamicModule } from '@nestjs/common';
import { CqrsModule, QueryBus } from '@nestjs/cqrs';
import pg from 'pg';
import { conflict, createPool, failureOf, invalidInput, Listener, messageOf } from '#lib/platform';
import {
  DataKeys,
  DecisionStreams,
  openEventStore,
  PartOfLog,
  type EventStore,
  type NewLoss,
} from '#lib/event-store';
import { CheckpointWatch, foldedLog, Projector } from '#lib/projections';
import { stepDown, type DatabaseAccess } from '#lib/timescale';
import { queriesOf } from './by-name.js';
import { CommandRunner, type AnyCommandRunner } from './command-runner.js';
import { vocabularyOf, type Context } from './context.js';
import { EventReads } from './event-reads.js';
import { commandHandlersOf } from './handlers.js';
import { WaylogLifecycle } from './lifecycle.js';
import { observeQueries, tell, type CommandObserver } from './observing.js';
import type { WaylogOptions } from './options.js';
import { RunningContexts, type RunningContext } from './running-contexts.js';
import type { AnyStreamType } from './stream-type.js';
import { DATABASE_ACCESS, EVENT_STORE, LOG_POOL, TABLES_POOL } from './tokens.js';

/** How many of the connections are for the log, and how many for keeping the tables. */
const aFifth = (poolSize: number): number => Math.max(1, Math.min(10, Math.floor(poolSize / 5)));

/**
 * Waylog in a NestJS application: `imports: [WaylogModule.forRoot({ databaseUrl, contexts })]`, then
 * `commandBus.execute(...)` and `queryBus.execute(...)` with the commands and queries of the contexts. Call
 * `app.enableShutdownHooks()`, so that a stop waits for the commands in progress.
 */
@Module({})
export class WaylogModule {
  static forRoot(options: WaylogOptions): DynamicModule {
    const {
      databaseUrl,
      projectorUrl,
      contexts,
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
    const vocabulary = vocabularyOf(contexts);
    const providers = contexts.flatMap((one) => one.providers);
    const followers = contexts.flatMap((one) => one.followers.map((follower) => ({ one, follower })));
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
              vocabulary,
              keys,
              onWarning: (message) => log.warn(message),
              onLoss: (loss) => log.error(lossText(loss)),
              folded: () => foldedLog(pool),
            }),
        },
        {
          provide: RunningContexts,
          inject: [EVENT_STORE, pg.Pool, TABLES_POOL, Listener, DATABASE_ACCESS],
          useFactory: (
            store: EventStore,
            queries: pg.Pool,
            tables: pg.Pool,
            listener: Listener,
            access: DatabaseAccess,
          ) =>
            new RunningContexts(
              contexts.map((one) => running(one, { store, queries, tables, listener, access })),
              store,
            ),
        },
        {
          provide: WaylogLifecycle,
          inject: [LOG_POOL, pg.Pool, TABLES_POOL, Listener, EVENT_STORE, RunningContexts, QueryBus],
          useFactory: (
            logPool: pg.Pool,
            queries: pg.Pool,
            tables: pg.Pool,
            listener: Listener,
            store: EventStore,
            runningContexts: RunningContexts,
            queryBus: QueryBus,
          ) => {
            if (options.onQuery) observeQueries(queryBus, told(options.onQuery));
            return new WaylogLifecycle({
              pools: { log: logPool, queries, tables },
              listener,
              store,
              contexts: runningContexts,
              projects: options.projector ?? true,
              stopTimeoutMs: options.stopTimeoutMs ?? 20_000,
              waitForLog: options.waitForLog ?? true,
            });
          },
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
        ...[...queriesOf(contexts).values()].map(({ handler }) => handler),
      ],
      exports: [
        CqrsModule,
        DATABASE_ACCESS,
        EVENT_STORE,
        RunningContexts,
        EventReads,
        pg.Pool,
        LOG_POOL,
        TABLES_POOL,
        ...followers.map(({ follower }) => follower.token),
        ...providers.map((provider) => ('provide' in provider ? provider.provide : provider)),
      ],
    };

    function running(
      one: Context,
      parts: {
        readonly store: EventStore;
        readonly queries: pg.Pool;
        readonly tables: pg.Pool;
        readonly listener: Listener;
        readonly access: DatabaseAccess;
      },
    ): RunningContext {
      const { store, queries, tables, listener, access } = parts;
      const part = new PartOfLog(store, one.categories);
      const saying = {
        info: (message: string) => log.log(message),
        warn: (message: string) => log.warn(message),
      };
      const writing = { store: part, pool: tables, connectionString: access.projector.url, log: saying };
      return {
        context: one,
        log: part,
        projector: new Projector({
          ...writing,
          name: one.name,
          projections: one.projections,
          followers: one.followers.map(({ name }) => name),
          followsBack: options.eventStore !== undefined,
        }),
        watch: new CheckpointWatch(queries, listener, part, {
          projector: one.name,
          names: one.projections.map(({ name }) => name),
        }),
        followers: one.followers.map(({ make }) => make({ ...writing, follows: one.name, listener })),
        runners: new Map(
          one.streams.map((type) => [type, runnerOf(type, store, options.settings?.[one.name])]),
        ),
      };
    }

    function runnerOf(type: AnyStreamType, store: EventStore, settings: unknown): AnyCommandRunner {
      const { category, decider, events = {}, door } = type;
      const { onCommand, maxPendingCommands, decisionCacheBytes } = options;
      const streams = new DecisionStreams({
        store,
        decider,
        category: category.name,
        upcasters: events.upcasters ?? {},
        ...(maxPendingCommands !== undefined && { maxPending: maxPendingCommands }),
        ...(decisionCacheBytes !== undefined && { cacheBytes: decisionCacheBytes }),
        onWarning: (message, error) =>
          log.warn(error === undefined ? message : `${message}: ${messageOf(error)}`),
      });
      const check = door?.((settings ?? {}) as never);
      return new CommandRunner(type, streams, onCommand && told(onCommand), check);
    }
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

const lossText = ({ keptPosition, seenPosition, events, commands, streams }: NewLoss): string =>
  `The log went back: it holds nothing after position ${keptPosition} of what had come up to position ${seenPosition}. ` +
  `${events === undefined ? 'Events' : `${events} events`} are gone, and with them ` +
  `${commands === undefined ? 'commands' : `${commands} commands`} that this process had answered, of ${streams.length} streams. ` +
  `Clients that repeat them with their command ids bring them back. See \`waylog log losses\`.`;
