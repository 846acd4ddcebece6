import { createHash } from 'node:crypto';
import { sortedJson, validate, WaylogError, type Timestamp, type Writable } from '#lib/platform';
import {
  eventsOf,
  type Appended,
  type CommandContext,
  type DecisionStreams,
  type DomainEvent,
} from '#lib/event-store';
import { COMMAND_OPTIONS, type Slice, type StreamCommand } from './command.js';
import type { CommandOutcome, tell } from './observing.js';
import type { DoorCheck, StreamType } from './stream-type.js';

/** The steps of a command: check it, decide it in the mailbox of its stream, append to the log, answer. */
export class CommandRunner<State, Event extends DomainEvent> {
  constructor(
    readonly type: StreamType<State, Event>,
    readonly streams: DecisionStreams<State, Event>,
    private readonly observe: ReturnType<typeof tell> = () => undefined,
    private readonly door: DoorCheck<State, Event> = () => undefined,
    private readonly now: () => Timestamp = () => new Date().toISOString(),
  ) {}

  /** Throws `input.invalid` before anything happens, what the decision refuses with, and what `DecisionStreams.change` throws. */
  async execute<C extends StreamCommand, Answer extends object>(
    slice: Slice<C, State, Event, Answer>,
    command: C,
  ): Promise<Appended & Answer> {
    const began = performance.now();
    const end = (outcome: CommandOutcome) =>
      this.observe(slice.command.name, outcome, (performance.now() - began) / 1_000);
    try {
      validate(slice.command, command);
      slice.check?.(command);
      const id = Reflect.get(command, this.type.key) as string;
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
      const sent = { at: this.now() };
      const decide = (state: State) => {
        const decision = slice.decide(command, state, sent);
        this.door(id, state, eventsOf(decision), sent.at);
        return decision;
      };
      const result = await this.streams.change(id, decide, context);
      end('done');
      return { [this.type.key]: id, ...result };
    } catch (error) {
      end(error instanceof WaylogError && error.kind !== 'unavailable' ? 'refused' : 'failed');
      throw error;
    }
  }
}

/** One of any type. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as of AnyStreamType
export type AnyCommandRunner = CommandRunner<any, any>;

const notContent: ReadonlySet<string> = new Set(COMMAND_OPTIONS);

/** The content of a command without its sender and cause: the same for a repeat, whatever the order of its fields. */
function fingerprintOf(command: StreamCommand): string {
  const content = Object.fromEntries(Object.entries(command).filter(([field]) => !notContent.has(field)));
  return createHash('sha256').update(sortedJson(content)).digest('base64url').slice(0, 16);
}
