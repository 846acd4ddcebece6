import { Command } from '@nestjs/cqrs';
import { v5 as uuidv5, v7 as uuidv7 } from 'uuid';
import { IsKnownId, IsOpaqueId, Nested, Optional, type Class, type Timestamp } from '#lib/platform';
import type { Appended, Decision, Origin } from '#lib/event-store';
import { FreeText } from './fields.js';
import type { FlightEvent } from './events.js';
import type { Flight } from './flight.js';

/** What every command returns: the end of the flight's stream after it. */
export interface CommandResult extends Appended {
  readonly flightId: string;
}

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
}

/** A requested change of one flight. `Answer` is what its result has besides flight, revision and position. */
export abstract class FlightCommand<Answer extends object = object>
  extends Command<CommandResult & Answer>
  implements CommandOptions
{
  @IsKnownId() readonly flightId!: string;
  @Optional() @IsOpaqueId() readonly commandId?: string | undefined;
  @Optional() @IsOpaqueId() readonly correlationId?: string | undefined;
  @Optional() @IsOpaqueId() readonly causationId?: string | undefined;
  @Optional() @IsOpaqueId() readonly actor?: string | undefined;
  @Optional() @IsOpaqueId() readonly onBehalfOf?: string | undefined;
  @Optional() @Nested(() => CommandOrigin) readonly origin?: CommandOrigin | undefined;

  constructor(fields: { readonly flightId: string } & CommandOptions) {
    super();
    Object.assign(this, fields);
  }
}

/** The pure half of a command: what it means for a flight. `at` is when it was sent. */
export type Decide<C, Answer extends object = object> = (
  command: C,
  at: Timestamp,
) => Decision<Flight, FlightEvent, Answer>;

/** A command with its decision. `changes.ts` lists them all. */
export interface Slice<C extends FlightCommand<Answer>, Answer extends object = object> {
  readonly command: Class<C>;
  readonly decide: Decide<C, Answer>;
}

export const slice = <C extends FlightCommand<Answer>, Answer extends object = object>(
  command: Class<C>,
  decide: Decide<C, Answer>,
): Slice<C, Answer> => ({ command, decide });

const NAMESPACE = '5d1c1f0e-6a6b-5b0e-9d57-0c8a4f6f2f5a';

/** The id of something that a command creates: the same when a command with the same id is sent again. */
export const newId = (commandId: string | null | undefined, what = ''): string =>
  commandId ? uuidv5(`${commandId} ${what}`, NAMESPACE) : uuidv7();

/** The id in an input. Constructors run before validation, so the input can be anything. */
export const idOf = (input: unknown): string | undefined =>
  typeof input === 'object' && input !== null && 'id' in input && typeof input.id === 'string'
    ? input.id
    : undefined;
