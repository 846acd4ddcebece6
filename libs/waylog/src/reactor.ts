import type { Type } from '@nestjs/common';
import { newId, type CommandOptions, type StreamCommand } from './command.js';
import { categoryOf, type DomainEvent, type RecordedEvent } from '#lib/event-store';
import { refuseName } from './names.js';
import type { AnyStreamType, StreamType } from './stream-type.js';

/** An event that a reactor acts on. */
export interface ReactedEvent<Data = RecordedEvent['data']> extends RecordedEvent {
  readonly data: RecordedEvent['data'] & Data;
  /** Of the thing whose stream it is in. */
  readonly of: string;
}

/** What a reactor can use. */
export interface Reacting {
  /** A provider of the application, by its class or token. */
  readonly get: <T>(token: Type<T> | symbol | string) => T;
  /** Aborted when the process stops, or another one leads. */
  readonly signal: AbortSignal;
}

/** The commands that an event causes. The same event always causes the same ones, in the same order: their ids come of it. */
export type Reaction = StreamCommand | readonly StreamCommand[] | undefined;
type React<Data> = (event: ReactedEvent<Data>, reacting: Reacting) => Reaction | Promise<Reaction>;

export interface ReactorOptions {
  /** Increases when it acts in another way. A new version acts only on events past the place of the old one. */
  readonly version: number;
  /**
   * Where it begins when it has never run: at the end of the log (default), so that nothing of the past is acted on, or
   * at its beginning.
   */
  readonly startsAt?: 'end' | 'beginning';
  /** Refusals of its commands that say that there is nothing to do any more: such a command counts as carried out. */
  readonly accepts?: readonly string[];
  /** How often an event is tried before its stream is parked; default 12, in about half an hour. */
  readonly attempts?: number;
}

/**
 * Sends commands in answer to events, or does something outside:
 * `reactor('ship', { version: 1 }).on(orderStream, 'OrderPaid', ({ of }) => new Ship({ orderId: of }))`.
 */
export class Reactor {
  readonly #acts = new Map<string, { readonly stream: AnyStreamType; readonly react: React<never> }>();

  constructor(
    readonly name: string,
    readonly options: ReactorOptions,
  ) {
    refuseName('reactor', name, 50);
  }

  /** Acts on events of a type in streams of a kind. */
  on<State, Event extends DomainEvent, Name extends Event['type']>(
    stream: StreamType<State, Event>,
    type: Name,
    react: React<Extract<Event, { readonly type: Name }>['data']>,
  ): this {
    if (!stream.eventTypes.has(type))
      throw new Error(`The reactor ${this.name} waits for ${type}, which no ${stream.category.name} has.`);
    this.#acts.set(keyOf(stream.category.name, type), { stream, react });
    return this;
  }

  /** The categories of the streams that it hears. */
  get categories(): readonly string[] {
    return [...new Set([...this.#acts.values()].map(({ stream }) => stream.category.name))];
  }

  concerns(event: RecordedEvent): boolean {
    return this.#of(event) !== undefined;
  }

  /** The commands that an event causes, each with its id, its cause and its sender. */
  async commandsFor(event: RecordedEvent, reacting: Reacting): Promise<StreamCommand[]> {
    const acts = this.#of(event);
    if (!acts) return [];
    const of = acts.stream.category.idOf(event.streamId);
    const commands = (await acts.react({ ...event, of } as never, reacting)) ?? [];
    return [commands].flat().map((command, n) =>
      causedBy(command, {
        commandId: newId(event.id, `${this.name} ${n}`),
        correlationId: event.metadata.correlationId,
        causationId: event.id,
        actor: `reactor:${this.name}`,
      }),
    );
  }

  #of({ streamId, type }: RecordedEvent) {
    return this.#acts.get(keyOf(categoryOf(streamId) ?? '', type));
  }
}

const keyOf = (category: string, type: string): string => `${category} ${type}`;

/** Names that ship with Waylog. */
const TAKEN = /^(event-bus|webhook-.*)$/;

export function reactor(name: string, options: ReactorOptions): Reactor {
  if (TAKEN.test(name))
    throw new Error(`${name} is the name of a reactor that ships with Waylog: take another one.`);
  return new Reactor(name, options);
}

type Cause = Pick<CommandOptions, 'correlationId' | 'causationId'> & {
  readonly commandId: string;
  readonly actor: string;
};

/** A copy of a command with where it comes from. An id of its own stays. */
export const causedBy = (command: StreamCommand, cause: Cause): StreamCommand =>
  Object.assign(Object.create(Object.getPrototypeOf(command) as object) as StreamCommand, command, {
    ...cause,
    commandId: command.commandId ?? cause.commandId,
  });
