import { createHash } from 'node:crypto';
import type { Span } from '@opentelemetry/api';
import { inSpan, isRefusal, sortedJson, traceparentOf, validate, type Writable } from '#lib/platform';
import {
  eventsOf,
  wholeOf,
  type Appended,
  type CommandContext,
  type Decision,
  type DecisionStreams,
  type DomainEvent,
} from '#lib/event-store';
import type { ClaimedValue } from './claim-kind.js';
import { COMMAND_OPTIONS, type Slice, type StreamCommand } from './command.js';
import type { CommandOutcome, tell } from './observing.js';
import type { Reference, References, StatesOf } from './reference.js';
import type { DoorCheck, StreamType } from './stream-type.js';

export interface CommandRunnerOptions<State, Event> {
  /** The state of another stream at its end. */
  readonly stateAtEnd: (reference: Reference) => Promise<unknown>;
  /** With which claims are named. */
  readonly claimSecret: () => Promise<Buffer>;
  /** Told of every command. */
  readonly observe?: ReturnType<typeof tell> | undefined;
  readonly door?: DoorCheck<State, Event> | undefined;
  /** Throws for events that no table of the context can take. */
  readonly foldable?: (streamId: string, events: readonly DomainEvent[]) => void;
}

/** The steps of a command: check it, decide it in the mailbox of its stream, append to the log, answer. */
export class CommandRunner<State, Event extends DomainEvent> {
  constructor(
    readonly type: StreamType<State, Event>,
    readonly streams: DecisionStreams<State, Event>,
    private readonly options: CommandRunnerOptions<State, Event>,
  ) {}

  /** Throws `input.invalid` before anything happens, what the decision refuses with, and what `DecisionStreams.change` throws. */
  async execute<C extends StreamCommand, Answer extends object, Reads extends References>(
    slice: Slice<C, State, Event, Answer, Reads>,
    command: C,
  ): Promise<Appended & Answer> {
    const began = performance.now();
    const { name } = slice.command;
    const end = (outcome: CommandOutcome) =>
      this.options.observe?.(name, outcome, (performance.now() - began) / 1_000);
    try {
      const parent: unknown = Reflect.get(command, 'traceparent');
      const result = await inSpan(
        `command ${name}`,
        { parent, attributes: { 'waylog.command': name } },
        (span) => this.#execute(slice, command, span),
      );
      end('done');
      return result;
    } catch (error) {
      end(isRefusal(error) ? 'refused' : 'failed');
      throw error;
    }
  }

  async #execute<C extends StreamCommand, Answer extends object, Reads extends References>(
    slice: Slice<C, State, Event, Answer, Reads>,
    command: C,
    span: Span,
  ): Promise<Appended & Answer> {
    validate(slice.command, command);
    slice.check?.(command);
    const id = Reflect.get(command, this.type.key) as string;
    const streamId = this.type.category.streamOf(id);
    span.setAttribute('waylog.stream', streamId);
    const { commandId, correlationId, causationId, actor, onBehalfOf, origin } = command;
    const context: Writable<CommandContext> = { command: slice.command.name };
    if (commandId) {
      context.commandId = commandId;
      context.fingerprint = fingerprintOf(command);
    }
    if (correlationId) context.correlationId = correlationId;
    if (causationId) context.causationId = causationId;
    if (actor) context.actor = actor;
    if (onBehalfOf) context.onBehalfOf = onBehalfOf;
    if (origin) context.origin = origin;
    const traceparent = traceparentOf(span);
    if (traceparent) context.traceparent = traceparent;
    const at = new Date().toISOString();
    const references = this.#references(slice.reads?.(command), id);
    const secret = slice.claims ? await this.options.claimSecret() : undefined;
    const decide = (state: State) => {
      const decision = slice.decide(command, state, {
        at,
        reads: (references?.states() ?? {}) as StatesOf<Reads>,
      });
      this.options.door?.(id, state, eventsOf(decision), at);
      this.options.foldable?.(streamId, eventsOf(decision));
      return claiming(decision, secret);
    };
    const result = await this.streams.change(id, decide, context, references?.read);
    span.setAttributes({ 'waylog.revision': result.revision, 'waylog.position': result.position });
    return { [this.type.key]: id, ...result };
  }

  /** Reads the states of other streams, and gives them to a decision, or fails it with what reading them failed with. */
  #references(references: References | undefined, id: string) {
    if (!references) return undefined;
    for (const [name, { stream, id: other }] of Object.entries(references))
      if (stream === this.type && other === id)
        throw new Error(
          `A decision on ${this.type.category.streamOf(id)} is given its state, and cannot read it as ${name}.`,
        );
    let states: Readonly<Record<string, unknown>> = {};
    let failure: { readonly error: unknown } | undefined;
    return {
      read: async () => {
        failure = undefined;
        try {
          const read = async ([name, reference]: readonly [string, Reference]) =>
            [name, await this.options.stateAtEnd(reference)] as const;
          states = Object.fromEntries(await Promise.all(Object.entries(references).map(read)));
        } catch (error) {
          failure = { error };
        }
      },
      states: () => {
        if (failure) throw failure.error;
        return states;
      },
    };
  }
}

/** One of any type. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as of AnyStreamType
export type AnyCommandRunner = CommandRunner<any, any>;

/** A decision with its values as the log names them. */
function claiming<Event, Answer extends object>(
  decision: Decision<Event, Answer, ClaimedValue>,
  secret: Buffer | undefined,
): Decision<Event, Answer> {
  const { takes, releases, ...rest } = wholeOf(decision);
  const named = (values: readonly ClaimedValue[]) => {
    if (!secret)
      throw new Error('A slice whose decision takes or gives back values says which: `claims: [...]`.');
    return values.map(({ kind, value }) => kind.claimOf(value, secret));
  };
  return {
    ...rest,
    ...(takes && { takes: named(takes) }),
    ...(releases && { releases: releases === 'all' ? releases : named(releases) }),
  };
}

const notContent: ReadonlySet<string> = new Set(COMMAND_OPTIONS);

/** The content of a command without its sender and cause: the same for a repeat, whatever the order of its fields. */
function fingerprintOf(command: StreamCommand): string {
  const content = Object.fromEntries(Object.entries(command).filter(([field]) => !notContent.has(field)));
  return createHash('sha256').update(sortedJson(content)).digest('base64url').slice(0, 16);
}
