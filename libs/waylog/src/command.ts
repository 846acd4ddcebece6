import { Command } from '@nestjs/cqrs';
import { v5 as uuidv5, v7 as uuidv7 } from 'uuid';
import {
  fieldsDeclaredBy,
  FreeText,
  IsOpaqueId,
  Nested,
  Optional,
  type Class,
  type Timestamp,
  type Traceparent,
} from '#lib/platform';
import type { Appended, Decision, DomainEvent, Origin } from '#lib/event-store';
import type { ClaimedValue, ClaimKind } from './claim-kind.js';
import type { References, StatesOf } from './reference.js';
import type { StreamType } from './stream-type.js';

/** Where a command came from: recorded with its events, for the audit trail. */
export class CommandOrigin implements Origin {
  [name: string]: string | undefined;
  /** The address of the caller, or of the last proxy before the server. */
  @Optional() @FreeText(100) readonly address?: string;
  /** The name of the caller's program, as the caller states it. */
  @Optional() @FreeText(256) readonly agent?: string;
  /** The session at the provider in which the caller logged in. */
  @Optional() @FreeText(256) readonly session?: string;
}

/** What every command can carry besides its own fields. */
export interface CommandOptions {
  /** The permanent id of the command: sending it again changes nothing and returns the first result. */
  readonly commandId?: string | undefined;
  /** The conversation that the command belongs to. */
  readonly correlationId?: string | undefined;
  /** The command or event that caused this one. */
  readonly causationId?: string | undefined;
  /** Who sends it. */
  readonly actor?: string | undefined;
  /** On whose behalf the sender says that it acts. Not verified. */
  readonly onBehalfOf?: string | undefined;
  readonly origin?: CommandOrigin | undefined;
  /**
   * The span that sends it, as W3C Trace Context writes it: the span of the command is under it. By default under what
   * is under way in this process.
   */
  readonly traceparent?: Traceparent | undefined;
}

/** The names of these fields. */
export const COMMAND_OPTIONS = [
  'commandId',
  'correlationId',
  'causationId',
  'actor',
  'onBehalfOf',
  'origin',
  'traceparent',
] as const satisfies readonly (keyof CommandOptions)[];

/** A requested change of one thing, with the fields that every command can carry. `Result` is what it returns. */
export abstract class StreamCommand<Result extends Appended = Appended>
  extends Command<Result>
  implements CommandOptions
{
  @Optional() @IsOpaqueId() readonly commandId?: string | undefined;
  @Optional() @IsOpaqueId() readonly correlationId?: string | undefined;
  @Optional() @IsOpaqueId() readonly causationId?: string | undefined;
  @Optional() @IsOpaqueId() readonly actor?: string | undefined;
  @Optional() @IsOpaqueId() readonly onBehalfOf?: string | undefined;
  @Optional() @Nested(() => CommandOrigin) readonly origin?: CommandOrigin | undefined;
  @Optional() @IsOpaqueId() readonly traceparent?: Traceparent | undefined;

  /** `fields`: its own, and those of CommandOptions. */
  constructor(fields: object) {
    super();
    Object.assign(this, fields);
  }
}

/** What a decision can know besides its command and the state. */
export interface Sent<Reads extends References = References> {
  /** When the command was sent. */
  readonly at: Timestamp;
  /**
   * The states of the streams that the slice `reads`: each at its end right before the decision, as of then. They must
   * not be changed.
   */
  readonly reads: StatesOf<Reads>;
}

/**
 * Decides what a command means for a state. Pure: it changes neither, and reads no clock. Refuses by throwing a
 * WaylogError.
 */
export type Decide<
  C,
  State,
  Event extends DomainEvent,
  Answer extends object = object,
  Reads extends References = References,
> = (command: C, state: State, sent: Sent<Reads>) => Decision<Event, Answer, ClaimedValue>;

/** A command with its decision, on a stream of this type. `Answer` is what its result has besides key, revision and position. */
export interface Slice<
  C extends object,
  State,
  Event extends DomainEvent,
  Answer extends object = object,
  Reads extends References = References,
> {
  readonly stream: StreamType<State, Event>;
  readonly command: Class<C>;
  /** Throws `input.invalid` for what the rules of the class cannot say. */
  readonly check?: (command: C) => void;
  /**
   * Other streams whose states the decision reads. They are not locked, and can move before the events are recorded:
   * where a rule must hold for good, the two things belong in one stream.
   */
  readonly reads?: (command: C) => Reads;
  /** The kinds of values that the decision takes or gives back. */
  readonly claims?: readonly ClaimKind[];
  readonly decide: Decide<C, State, Event, Answer, Reads>;
  /** Only code of this process sends it, which has made sure of something before: it cannot be called by its name. */
  readonly isInternal?: boolean;
}

/** One of any command and stream: the kernel passes them on. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as of AnyStreamType
export type AnySlice = Slice<any, any, any, object, any>;

/** What a slice has besides its command and its decision. */
type SliceParts<C extends object, Reads extends References> = Pick<
  Slice<C, unknown, DomainEvent, object, Reads>,
  'check' | 'reads' | 'claims'
>;

/** Declares commands on streams of a type, each with its decision: `const slice = slicesOn(partStream)`. */
export const slicesOn = <State, Event extends DomainEvent>(stream: StreamType<State, Event>) => {
  function slice<C extends StreamCommand, Answer extends object = object>(
    command: Class<C>,
    decide: Decide<C, State, Event, Answer, Record<string, never>>,
  ): Slice<C, State, Event, Answer, Record<string, never>>;
  function slice<
    C extends StreamCommand,
    Answer extends object = object,
    Reads extends References = Record<string, never>,
  >(
    command: Class<C>,
    parts: SliceParts<C, Reads>,
    decide: Decide<C, State, Event, Answer, Reads>,
  ): Slice<C, State, Event, Answer, Reads>;
  function slice(command: Class, ...rest: readonly unknown[]): AnySlice {
    refuseLosing(command);
    const decide = rest.at(-1) as AnySlice['decide'];
    return { stream, command, ...(rest.length > 1 && (rest[0] as object)), decide };
  }
  return slice;
};

/**
 * With the newer meaning of class fields, each `readonly name!: string` is set to undefined after the constructor of
 * StreamCommand has given it its value. Said where the command is declared, and not at the first one that is sent.
 */
function refuseLosing(command: Class): void {
  const names = fieldsDeclaredBy(command);
  const given = Object.fromEntries(names.map((name) => [name, name]));
  let made: object;
  try {
    made = new (command as new (fields: object) => object)(given);
  } catch {
    // It needs what it is really made of.
    return;
  }
  const isLost = (name: string) => Object.hasOwn(made, name) && Reflect.get(made, name) === undefined;
  if (names.length > 0 && names.every(isLost))
    throw new Error(
      `${command.name} loses what it is made of: its fields are set to undefined after that. Say "useDefineForClassFields": false in ` +
        `compilerOptions of tsconfig.json, and to whatever else compiles it, such as that of your tests.`,
    );
}

const NAMESPACE = '5d1c1f0e-6a6b-5b0e-9d57-0c8a4f6f2f5a';

/** The id of something that a command creates: the same when a command with the same id is sent again. */
export const newId = (commandId: string | null | undefined, what = ''): string =>
  commandId ? uuidv5(`${commandId} ${what}`, NAMESPACE) : uuidv7();

/** The id in an input. Constructors run before validation, so the input can be anything. */
export const idOf = (input: unknown): string | undefined =>
  typeof input === 'object' && input !== null && 'id' in input && typeof input.id === 'string'
    ? input.id
    : undefined;
