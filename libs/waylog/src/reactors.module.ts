import {
  Inject,
  Injectable,
  Logger,
  Module,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnModuleDestroy,
} from '@nestjs/common';
import { CommandBus, EventBus } from '@nestjs/cqrs';
import { ModuleRef } from '@nestjs/core';
import type pg from 'pg';
import { messageOf, WaylogError } from '#lib/platform';
import { PartOfLog, type EventStore, type RecordedEvent } from '#lib/event-store';
import { Acting, DeadlineSender, type DeclaredReactor, type Due } from '#lib/reactors';
import type { DatabaseAccess } from '#lib/timescale';
import type { StreamCommand } from './command.js';
import { deadlineTable, type AnyDeadline } from './deadline.js';
import { busReactor, LiveEvents } from './event-bus.js';
import type { WaylogOptions } from './options.js';
import type { Reacting, Reactor } from './reactor.js';
import { RunningContexts } from './running-contexts.js';
import { DATABASE_ACCESS, EVENT_STORE, TABLES_POOL } from './tokens.js';

type Options = Pick<WaylogOptions, 'projector' | 'eventBus' | 'reactors'>;

const OPTIONS = Symbol('waylog reactor options');

/**
 * Runs reactors, the senders of deadlines and the bridge to Nest's event bus. A module of its own that is not global: Nest
 * starts those after the ones that are, such as CqrsModule, which only then knows the handlers.
 */
@Module({})
export class ReactorsModule {
  static forRoot({ projector, eventBus, reactors }: Options): DynamicModule {
    return {
      module: ReactorsModule,
      providers: [{ provide: OPTIONS, useValue: { projector, eventBus, reactors } }, RunningReactors],
      exports: [RunningReactors],
    };
  }
}

/** The reactors and deadlines of this application, for injection. */
@Injectable()
export class RunningReactors implements OnApplicationBootstrap, OnModuleDestroy {
  /** All that act on events, each with its context. */
  readonly #reactors: readonly { readonly reactor: Reactor; readonly context?: string }[];
  readonly #live: LiveEvents | undefined;
  #running: readonly { start(): void; stop(): Promise<void> }[] = [];

  constructor(
    @Inject(OPTIONS) private readonly options: Options,
    private readonly contexts: RunningContexts,
    @Inject(EVENT_STORE) private readonly store: EventStore,
    @Inject(TABLES_POOL) private readonly pool: pg.Pool,
    @Inject(DATABASE_ACCESS) private readonly access: DatabaseAccess,
    private readonly commands: CommandBus,
    private readonly events: EventBus,
    private readonly moduleRef: ModuleRef,
  ) {
    const { eventBus } = options;
    this.#reactors = [
      ...contexts.declared.flatMap(({ name, reactors }) =>
        reactors.map((reactor) => ({ reactor, context: name })),
      ),
      ...(eventBus && eventBus.delivery !== 'each process'
        ? [{ reactor: busReactor(eventBus, (event) => this.events.publish(event)) }]
        : []),
    ];
    this.#live =
      eventBus?.delivery === 'each process'
        ? new LiveEvents(this.store, eventBus.events, (event) => this.events.publish(event), this.#log)
        : undefined;
  }

  /** What is known of them all, whether they run in this process or not. */
  get declared(): readonly DeclaredReactor[] {
    return [
      ...this.#reactors.map(({ reactor: { name, options, categories }, context }) => ({
        name,
        version: options.version,
        context,
        hears: new PartOfLog(this.store, categories),
      })),
      ...this.contexts.declared.flatMap((context) =>
        context.deadlines.map(({ name, options }) => ({
          name,
          version: options.version,
          context: context.name,
          table: tableOf(context.name, name),
        })),
      ),
    ];
  }

  /** Whether the event bus of this process hears what is recorded from now on, if it is to hear of everything. */
  get hears(): boolean {
    return this.#live?.isListening ?? true;
  }

  onApplicationBootstrap(): void {
    if (!(this.options.reactors ?? this.options.projector ?? true)) return;
    this.#running = [
      ...this.#reactors.map(({ reactor }) => this.#acting(reactor)),
      ...this.contexts.declared.flatMap((context) =>
        context.deadlines.map((one) => this.#sender(one, tableOf(context.name, one.name))),
      ),
      ...(this.#live ? [this.#live] : []),
    ];
    for (const one of this.#running) one.start();
  }

  /** Before anything else stops: they send commands. */
  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.#running.map((one) => one.stop()));
  }

  #acting(reactor: Reactor): Acting {
    const { name, options, categories } = reactor;
    const get: Reacting['get'] = (token) => this.moduleRef.get(token, { strict: false });
    return new Acting({
      ...this.#common,
      name,
      version: options.version,
      startsAt: options.startsAt,
      attempts: options.attempts,
      store: new PartOfLog(this.store, categories),
      concerns: (event: RecordedEvent) => reactor.concerns(event),
      act: async (event, signal) => {
        for (const command of await reactor.commandsFor(event, { get, signal }))
          await this.#send(command, options.accepts);
      },
    });
  }

  #sender(deadline: AnyDeadline, table: string): DeadlineSender {
    const { name, options } = deadline;
    return new DeadlineSender({
      ...this.#common,
      name,
      version: options.version,
      attempts: options.attempts,
      table,
      send: (due: Due) => this.#send(deadline.commandFor(due), options.accepts),
    });
  }

  async #send(command: StreamCommand, accepts: readonly string[] = []): Promise<void> {
    try {
      await this.commands.execute(command);
    } catch (error) {
      if (!(error instanceof WaylogError) || !accepts.includes(error.code)) throw error;
    }
  }

  get #common() {
    return { pool: this.pool, connectionString: this.access.projector.url, log: this.#log };
  }

  get #log() {
    const log = new Logger('Waylog');
    return {
      info: (message: string) => log.log(message),
      warn: (message: string, error?: unknown) =>
        log.warn(error === undefined ? message : `${message}: ${messageOf(error)}`),
    };
  }
}

const tableOf = (context: string, deadline: string): string => {
  const { schema, name } = deadlineTable(context, deadline);
  return `"${schema}"."${name}"`;
};
