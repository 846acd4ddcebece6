import type { FactoryProvider, ModuleMetadata } from '@nestjs/common';
import type { Files } from '#lib/files';
import type { CommandObserver } from './observing.js';
import type { Context } from './context.js';
import type { EventBusOptions } from './event-bus.js';
import type { Opened } from './opened.js';

export interface WaylogOptions {
  /** The domains of the application. */
  readonly contexts: readonly Context[];
  /**
   * The URL of a migrated database (`waylog migrate`). Even with the owner's URL nothing works as the owner: the
   * process uses the roles that the migration created (docs/how-to/database-roles.md).
   */
  readonly databaseUrl: string;
  /** The same database with the role that keeps the tables, if `databaseUrl` has the application role. */
  readonly projectorUrl?: string | undefined;
  /** Where the log is, if not in that database: a connection string of EventStoreDB (`esdb://...`). */
  readonly eventStore?: string | undefined;
  /** Where files are kept, such as `new Files(new DiskFileStore(folder), maxBytes)`; without it what needs them is refused. */
  readonly files?: Files | undefined;
  /** Whether this process folds events into tables when it has the lead; default true. One process at a time leads. */
  readonly projector?: boolean;
  /** Whether this process runs reactors and sends the commands of deadlines when it has the lead; default as `projector`. */
  readonly reactors?: boolean;
  /** Publishes events on Nest's event bus, for `@EventsHandler` and sagas. */
  readonly eventBus?: EventBusOptions;
  /** Networks beside the public internet that webhooks may reach, such as `10.1.0.0/16`; default none. */
  readonly webhookNetworks?: readonly string[];
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
  /** The settings of contexts, by their names. */
  readonly settings?: Readonly<Record<string, unknown>>;
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
  /** Notes what is opened, so that an application that does not start can be closed: `opened.orClose(NestFactory.create(...))`. */
  readonly opened?: Opened;
}

/** For `forRootAsync`: the contexts, and how the other options are made. */
export interface WaylogAsyncOptions {
  readonly contexts: readonly Context[];
  /** Modules that export what is injected. */
  readonly imports?: NonNullable<ModuleMetadata['imports']>;
  /** What the factory is called with. */
  readonly inject?: NonNullable<FactoryProvider['inject']>;
  readonly useFactory: (
    // eslint-disable-next-line @typescript-eslint/no-explicit-any -- Nest calls it with what `inject` names
    ...made: any[]
  ) => Omit<WaylogOptions, 'contexts'> | Promise<Omit<WaylogOptions, 'contexts'>>;
}
