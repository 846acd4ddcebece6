import { Background, backoffDelay, pause } from '#lib/platform';
import type { EventStore, JsonObject, Position, RecordedEvent } from '#lib/event-store';
import { Trouble, type ProjectorLog } from '#lib/projections';
import { Reactor } from './reactor.js';
import type { AnyStreamType } from './stream-type.js';

/**
 * An event of the log for handlers of Nest's event bus. Each type has a class of its own:
 *
 *     class OrderPaid extends LoggedEvent.of<OrderEvents['OrderPaid']>(orderStream, 'OrderPaid') {}
 *
 *     @EventsHandler(OrderPaid)
 *     class Thank implements IEventHandler<OrderPaid> { ... }
 */
export class LoggedEvent<Data = JsonObject> {
  readonly id: string;
  readonly streamId: string;
  readonly revision: number;
  readonly position: Position;
  readonly recordedAt: string;
  readonly metadata: RecordedEvent['metadata'];
  readonly data: Data;

  constructor(event: RecordedEvent) {
    const { id, streamId, revision, position, recordedAt, metadata } = event;
    this.id = id;
    this.streamId = streamId;
    this.revision = revision;
    this.position = position;
    this.recordedAt = recordedAt;
    this.metadata = metadata;
    this.data = event.data as Data;
  }

  /** The class to extend, for a type of events. */
  static of<Data = JsonObject>(stream: AnyStreamType, type: string): LoggedEventClass<Data> {
    if (!stream.eventTypes.has(type))
      throw new Error(`No ${stream.category.name} has events of the type ${type}.`);
    return class extends LoggedEvent<Data> {
      static readonly stream = stream;
      static readonly type = type;
    };
  }
}

export interface LoggedEventClass<Data = JsonObject> {
  new (event: RecordedEvent): LoggedEvent<Data>;
  readonly stream: AnyStreamType;
  readonly type: string;
}

export interface EventBusOptions {
  /** The classes of the events that are published. */
  readonly events: readonly LoggedEventClass<unknown>[];
  /**
   * `one process` (default): each event once in the whole system, from the first start on, whichever process is there; again
   * after a kill, if that was not recorded yet. `each process`: in every process, the events that are recorded while it runs.
   */
  readonly delivery?: 'one process' | 'each process';
}

/** What the reactor that feeds Nest's event bus is called. */
export const EVENT_BUS = 'event-bus';

type Publish = (event: LoggedEvent) => unknown;

/** Publishes each event in one process. Nest does not tell whether a handler has failed: what must be done is a reactor's. */
export function busReactor({ events }: EventBusOptions, publish: Publish): Reactor {
  const reactor = new Reactor(EVENT_BUS, { version: 1 });
  for (const Logged of events)
    reactor.on(Logged.stream, Logged.type, (event) => {
      publish(new Logged(event) as LoggedEvent);
      return undefined;
    });
  return reactor;
}

/** The bus uses nothing of the application. */
const nothing = (): never => {
  throw new Error('The event bus is given nothing.');
};

/** Publishes what is recorded while this process runs. */
export class LiveEvents {
  readonly #background = new Background((signal) => this.#run(signal));
  readonly #trouble: Trouble;
  /** Where it has come to; undefined before it listens. */
  #after: Position | undefined;

  constructor(
    private readonly store: EventStore,
    /** Publishes an event that it concerns. */
    private readonly bus: Reactor,
    log: ProjectorLog,
  ) {
    this.#trouble = new Trouble('Publishing events on the event bus', log);
  }

  /** Whether it hears what is recorded from now on. */
  get isListening(): boolean {
    return this.#after !== undefined;
  }

  start(): void {
    this.#background.start();
  }

  stop(): Promise<void> {
    return this.#background.stop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { categories } = this.bus;
    const reacting = { signal, get: nothing };
    while (!signal.aborted) {
      try {
        this.#after ??= await this.store.head();
        this.#trouble.began();
        const from = { after: this.#after, batchSize: 200, categories, signal };
        for await (const batch of this.store.subscribe(from)) {
          for (const event of batch) await this.bus.commandsFor(event, reacting);
          this.#after = batch.at(-1)?.position ?? this.#after;
          this.#trouble.succeeded();
        }
      } catch (error) {
        this.#trouble.failed(error);
        await pause(backoffDelay(this.#trouble.failures, 100, 2_000), signal);
      }
    }
    this.#trouble.end();
  }
}
