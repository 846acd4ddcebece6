import {
  Inject,
  Injectable,
  Module,
  type OnApplicationBootstrap,
  type OnModuleDestroy,
} from '@nestjs/common';
import { CommandBus, EventBus } from '@nestjs/cqrs';
import { ModuleRef } from '@nestjs/core';
import type pg from 'pg';
import { conflict, messageOf, notFound, retry, WaylogError } from '#lib/platform';
import {
  PartOfLog,
  type EventStore,
  type Position,
  type ReadableLog,
  type RecordedEvent,
} from '#lib/event-store';
import {
  Acting,
  DeadlineSender,
  isOutage,
  pauseReactor,
  placeOf,
  reactorState,
  resetReactor,
  resumeReactor,
  retryReactions,
  discardReaction,
  forgetReactor,
  ranReactors,
  verifyReactors,
  waitingReactions,
  type DeclaredReactor,
  type Due,
  type RanReactor,
  type ReactorProblem,
  type ReactorStatus,
  type WaitingReaction,
} from '#lib/reactors';
import type { DatabaseAccess } from '#lib/timescale';
import type { StreamCommand } from './command.js';
import { WEBHOOK, type Context } from './context.js';
import { deadlineTable, type AnyDeadline } from './deadline.js';
import { busReactor, EVENT_BUS, LiveEvents } from './event-bus.js';
import type { WaylogOptions } from './options.js';
import type { Reacting, Reactor } from './reactor.js';
import { RunningContexts } from './running-contexts.js';
import { sayings } from './sayings.js';
import { DATABASE_ACCESS, EVENT_STORE, TABLES_POOL, WAYLOG_OPTIONS } from './tokens.js';
import { WEBHOOK_NETWORKS, Webhooks } from './webhooks.js';

interface OfContext {
  readonly reactor: Reactor;
  readonly context?: string;
}

const ofContexts = (contexts: readonly Context[]): OfContext[] =>
  contexts.flatMap(({ name, reactors }) => reactors.map((reactor) => ({ reactor, context: name })));

const declaredReactors = (
  reactors: readonly OfContext[],
  contexts: readonly Context[],
  store: ReadableLog,
): DeclaredReactor[] => [
  ...reactors.map(({ reactor: { name, options, categories }, context }) => ({
    name,
    version: options.version,
    context,
    hears: new PartOfLog(store, categories),
  })),
  ...contexts.flatMap((context) =>
    context.deadlines.map(({ name, options }) => ({
      name,
      version: options.version,
      context: context.name,
      table: tableOf(context.name, name),
    })),
  ),
];

/** The reactors and deadlines of contexts, for code that has no running application. */
export const reactorsOf = (contexts: readonly Context[], store: ReadableLog): DeclaredReactor[] =>
  declaredReactors(ofContexts(contexts), contexts, store);

/** Those that have run on a database and that neither contexts nor webhooks nor the event bus of Nest explain. */
export async function leftReactors(contexts: readonly Context[], pool: pg.Pool): Promise<RanReactor[]> {
  const declared = contexts.flatMap(({ reactors, deadlines }) => [...reactors, ...deadlines]);
  const isKnown = (name: string) =>
    name.startsWith(WEBHOOK) || name === EVENT_BUS || declared.some((one) => one.name === name);
  return (await ranReactors(pool)).filter(({ name }) => !isKnown(name));
}

/** The reactors and deadlines of this application, for injection. */
@Injectable()
export class RunningReactors implements OnApplicationBootstrap, OnModuleDestroy {
  /** All that act on events, each with its context. */
  readonly #reactors: readonly OfContext[];
  readonly #live: LiveEvents | undefined;
  #running: readonly { start(): void; stop(): Promise<void> }[] = [];

  constructor(
    @Inject(WAYLOG_OPTIONS) private readonly options: WaylogOptions,
    private readonly contexts: RunningContexts,
    @Inject(EVENT_STORE) private readonly store: EventStore,
    @Inject(TABLES_POOL) private readonly pool: pg.Pool,
    @Inject(DATABASE_ACCESS) private readonly access: DatabaseAccess,
    private readonly commands: CommandBus,
    private readonly events: EventBus,
    private readonly moduleRef: ModuleRef,
    private readonly webhooks: Webhooks,
  ) {
    const { eventBus } = options;
    const bus = eventBus && busReactor(eventBus, (event) => this.events.publish(event));
    const isEachProcess = eventBus?.delivery === 'each process';
    this.#reactors = [...ofContexts(contexts.declared), ...(bus && !isEachProcess ? [{ reactor: bus }] : [])];
    this.#live = bus && isEachProcess ? new LiveEvents(this.store, bus, sayings()) : undefined;
  }

  /** What is known of them all, whether they run in this process or not. */
  async declared(): Promise<readonly DeclaredReactor[]> {
    return [
      ...declaredReactors(this.#reactors, this.contexts.declared, this.store),
      ...(await this.webhooks.declared()),
    ];
  }

  /** The state of them all. */
  async states(): Promise<ReactorStatus[]> {
    const declared = await this.declared();
    return Promise.all(declared.map((one) => reactorState(this.pool, one)));
  }

  /** Throws `reactor.not-found`. */
  async named(name: string): Promise<DeclaredReactor> {
    const declared = await this.declared();
    const found = declared.find((one) => one.name === name);
    if (found) return found;
    throw notFound(
      'reactor.not-found',
      declared.length === 0
        ? 'No context of this application has reactors or deadlines, and there are no webhooks.'
        : `There is no reactor or deadline ${name}. There are ${declared.map((one) => one.name).join(', ')}.`,
      { reactor: name },
    );
  }

  /** What waits of these, or of all; the parked first. */
  async waiting(name?: string): Promise<WaitingReaction[]> {
    const some = name === undefined ? await this.declared() : [await this.named(name)];
    return waitingReactions(
      this.pool,
      some.map((one) => one.name),
    );
  }

  /** Throws `reactor.not-found` and `reactor.never-ran`. */
  async pause(name: string, why: { readonly reason: string; readonly by: string }): Promise<void> {
    await pauseReactor(this.pool, (await this.named(name)).name, why);
  }

  /** Throws `reactor.not-found` and `reactor.never-ran`. */
  async resume(name: string): Promise<void> {
    await resumeReactor(this.pool, (await this.named(name)).name);
  }

  /** See `resetReactor`. `to` is a position, `beginning` or `end`. Also throws `reactor.not-found`, and `reactor.is-deadline` for a deadline, which has no place in the log. */
  async reset(name: string, to: Position): Promise<void> {
    const { hears } = await this.named(name);
    if (!hears)
      throw conflict(
        'reactor.is-deadline',
        `${name} is a deadline: it acts on a table, and has no place in the log.`,
        { reactor: name },
      );
    const position = to === 'beginning' ? hears.beginning : to === 'end' ? await hears.head() : to;
    await resetReactor(this.pool, name, hears, position);
  }

  /** Has what waits tried within a second: all, or what waits of one stream or thing. Returns how many. */
  async retry(name: string, of?: string): Promise<number> {
    return retryReactions(this.pool, (await this.named(name)).name, of);
  }

  /** Leaves out for good what failed, with `key` one deadline of a thing. Throws `reactor.not-found` and `reactor.nothing-waits`. */
  async discard(
    name: string,
    of: string,
    why: { readonly key?: string | undefined; readonly reason: string; readonly by: string },
  ): Promise<void> {
    await discardReaction(this.pool, (await this.named(name)).name, of, why);
  }

  /** See `forgetReactor`: for one that this application does not have. Also throws `reactor.is-declared`. */
  async forget(name: string): Promise<number> {
    if ((await this.declared()).some((one) => one.name === name))
      throw conflict(
        'reactor.is-declared',
        `This application has ${name}. Take it out of the code first; \`waylog reactors pause ${name}\` stops it meanwhile.`,
        { reactor: name },
      );
    return forgetReactor(this.pool, name);
  }

  /** What is not as it should be with any; see `verifyReactors`. */
  async verify(): Promise<ReactorProblem[]> {
    return verifyReactors(this.pool, await this.declared());
  }

  /** Whether the event bus of this process hears what is recorded from now on, if it is to hear of everything. */
  get hears(): boolean {
    return this.#live?.isListening ?? true;
  }

  async onApplicationBootstrap(): Promise<void> {
    const { reactors, projector } = this.options;
    if (reactors !== false) await this.#takePlaces();
    if (!(reactors ?? projector ?? true)) return;
    this.#running = [
      ...this.#reactors.map(({ reactor }) => this.#acting(reactor)),
      ...this.contexts.declared.flatMap((context) =>
        context.deadlines.map((one) => this.#sender(one, tableOf(context.name, one.name))),
      ),
      ...(this.#live ? [this.#live] : []),
      this.webhooks,
    ];
    for (const one of this.#running) one.start();
  }

  /**
   * Before this process takes commands, also one that does not run reactors: a new reactor acts on all that they record. One
   * whose record cannot be written begins where the log ends when it first runs.
   */
  async #takePlaces(): Promise<void> {
    for (const { reactor } of this.#reactors) {
      const { name, options } = reactor;
      const place = () => placeOf(this.pool, this.store, { name, ...options });
      await retry(place, { attempts: 10, baseDelayMs: 200, maxDelayMs: 2_000, retryIf: isOutage }).catch(
        (error: unknown) =>
          sayings().warn(`Reactor ${name} has no place in the log yet: ${messageOf(error)}`),
      );
    }
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
    return { pool: this.pool, connectionString: this.access.projector.url, log: sayings() };
  }
}

const tableOf = (context: string, deadline: string): string => {
  const { schema, name } = deadlineTable(context, deadline);
  return `"${schema}"."${name}"`;
};

/**
 * Runs reactors, the senders of deadlines and the bridge to Nest's event bus. A module of its own that is not global: Nest
 * starts those after the ones that are, such as CqrsModule, which only then knows the handlers.
 */
@Module({
  providers: [
    {
      provide: WEBHOOK_NETWORKS,
      inject: [WAYLOG_OPTIONS],
      useFactory: ({ webhookNetworks = [] }: WaylogOptions) => webhookNetworks,
    },
    RunningReactors,
    Webhooks,
  ],
  exports: [RunningReactors, Webhooks],
})
export class ReactorsModule {}
