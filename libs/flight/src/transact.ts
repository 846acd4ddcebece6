import { ArrayMaxSize, ArrayMinSize, IsArray } from 'class-validator';
import { badFields, invalidInput, type FieldError, type Timestamp } from '#lib/platform';
import type { Decision } from '#lib/event-store';
import {
  FlightCommand,
  idOf,
  newId,
  slice,
  type CommandOptions,
  type Decide,
  type Slice,
} from './command.js';
import { changes } from './changes.js';
import type { FlightEvent } from './events.js';
import { flightDecider, type Flight } from './flight.js';

/** One command of a transaction: its type and its own fields, without the flight. */
export interface TransactionStep {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface TransactionResult {
  /** What each command answers beyond where it left the flight, in their order. */
  readonly results: readonly object[];
}

/** Several commands on one flight, each seeing what those before it did: all of them are recorded, or none. */
export class Transact extends FlightCommand<TransactionResult> {
  @IsArray() @ArrayMinSize(1) @ArrayMaxSize(1_000) readonly commands!: readonly TransactionStep[];

  constructor(
    fields: { readonly flightId: string; readonly commands: readonly TransactionStep[] } & CommandOptions,
  ) {
    super(fields);
  }
}

type AnySlice = Slice<FlightCommand>;
const byName = new Map<string, AnySlice>(changes.map((s) => [s.command.name, s as unknown as AnySlice]));

export const decideTransact: Decide<Transact, TransactionResult> = (command, at) => {
  const decisions = decisionsOf(command, at);
  return (flight) => {
    let state = flightDecider.fork(flight);
    const events: FlightEvent[] = [];
    const results: object[] = [];
    for (const decide of decisions) {
      const decided = decide(state);
      const step = 'answer' in decided ? decided : { events: decided, answer: {} };
      for (const event of step.events) {
        events.push(event);
        state = flightDecider.evolve(state, event);
      }
      results.push(step.answer);
    }
    return { events, answer: { results } };
  };
};

/** Throws `input.invalid` with the bad fields of every command. */
function decisionsOf(
  { flightId, commands, commandId }: Transact,
  at: Timestamp,
): Decision<Flight, FlightEvent>[] {
  const errors: FieldError[] = [];
  const decisions = commands.flatMap((step, i) => {
    const path = `commands[${i}]`;
    if (typeof step !== 'object' || (step as unknown) === null || Array.isArray(step)) {
      errors.push({ field: path, message: 'must be an object with a type' });
      return [];
    }
    const { type, ...fields }: { type?: unknown; [field: string]: unknown } = step;
    const change = typeof type === 'string' ? byName.get(type) : undefined;
    if (!change) {
      errors.push({ field: `${path}.type`, message: `must be one of ${[...byName.keys()].join(', ')}` });
      return [];
    }
    for (const field of [
      'flightId',
      'commandId',
      'correlationId',
      'causationId',
      'actor',
      'onBehalfOf',
      'waypointId',
      'geofenceId',
    ]) {
      if (field === 'geofenceId' && type === 'RemoveGeofence') continue;
      if (field in fields)
        errors.push({
          field: `${path}.${field}`,
          message: 'is not a field of a command in a transaction',
        });
    }
    const flight = idOf(fields['flight']);
    if (flight !== undefined && flight !== flightId) {
      errors.push({ field: `${path}.flight.id`, message: 'must be the flight of the transaction' });
    }
    const Command = change.command as unknown as new (fields: object) => FlightCommand;
    const stepId = commandId ? { commandId: newId(commandId, `step ${i}`) } : {};
    const command = Object.assign(new Command({ ...fields, flightId, ...stepId }), { flightId });
    for (const { field, message } of badFields(change.command, command))
      errors.push({ field: `${path}.${field}`, message });
    return errors.length > 0 ? [] : [change.decide(command, at)];
  });
  if (errors.length > 0) throw invalidInput(errors);
  return decisions;
}

export const transact = slice(Transact, decideTransact);
