import { ArrayMaxSize, ArrayMinSize, IsArray } from 'class-validator';
import {
  badFields,
  conflict,
  invalidInput,
  MAX_BAD_FIELDS,
  type FieldError,
  type Timestamp,
  weigh,
  type Weight,
} from '#lib/platform';
import type { Decision } from '#lib/event-store';
import { COMMAND_OPTIONS } from '#lib/waylog';
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
  /** The further results of each command, in their order. */
  readonly results: readonly object[];
}

/**
 * Several commands on one flight, each seeing the effects of those before it: all of them are recorded, or none.
 * Refused with `transaction.too-much` if their events would be too large together.
 */
export class Transact extends FlightCommand<TransactionResult> {
  @IsArray() @ArrayMinSize(1) @ArrayMaxSize(1_000) readonly commands!: readonly TransactionStep[];

  constructor(
    fields: { readonly flightId: string; readonly commands: readonly TransactionStep[] } & CommandOptions,
  ) {
    super(fields);
  }
}

/**
 * The most that all commands together can record. They are decided, written and read in one go each, without turns for
 * other requests: 14 times 5,000 frames held the process for 3 s. An event can be larger than its command (all details
 * of a flight for a new name, all frames of two merged route chunks), so the events are measured.
 */
const MOST: Weight = { values: 250_000, characters: 8 * 1024 * 1024 };

type AnySlice = Slice<FlightCommand>;
const byName = new Map<string, AnySlice>(changes.map((s) => [s.command.name, s as unknown as AnySlice]));

export const decideTransact: Decide<Transact, TransactionResult> = (command, at) => {
  const decisions = decisionsOf(command, at);
  return (flight) => {
    let state = flightDecider.fork(flight);
    const events: FlightEvent[] = [];
    const results: object[] = [];
    const weight: Weight = { values: 0, characters: 0 };
    for (const decide of decisions) {
      const decided = decide(state);
      const step = 'answer' in decided ? decided : { events: decided, answer: {} };
      for (const event of step.events) {
        weigh(event.data, weight);
        if (weight.values > MOST.values || weight.characters > MOST.characters)
          throw tooMuch(command.flightId);
        events.push(event);
        state = flightDecider.evolve(state, event);
      }
      results.push(step.answer);
    }
    return { events, answer: { results } };
  };
};

const tooMuch = (flightId: string) =>
  conflict(
    'transaction.too-much',
    `The commands on flight ${flightId} would together record events of more than ${MOST.values} values or ` +
      `${MOST.characters / 2 ** 20} MiB of text. Nothing was recorded. Send them in several transactions.`,
    { flightId },
  );

/** What the transaction itself says, and ids that a path names. */
const NOT_OF_STEPS = ['flightId', ...COMMAND_OPTIONS, 'waypointId', 'geofenceId'];

/** No command has as many. */
const MAX_FIELDS = 50;

/**
 * Counted before the object is copied: copying one with a thousand names takes 8 ms, and there can be a thousand such
 * objects.
 */
function hasTooManyFields(step: object): boolean {
  let count = 0;
  for (const _ in step) if (++count > MAX_FIELDS) return true;
  return false;
}

/** Throws `input.invalid` with the bad fields of the commands; stops looking after `MAX_BAD_FIELDS`. */
function decisionsOf(
  { flightId, commands, commandId }: Transact,
  at: Timestamp,
): Decision<Flight, FlightEvent>[] {
  const errors: FieldError[] = [];
  const decisions = commands.flatMap((step, i) => {
    if (errors.length > MAX_BAD_FIELDS) return [];
    const path = `commands[${i}]`;
    if (typeof step !== 'object' || (step as unknown) === null || Array.isArray(step)) {
      errors.push({ field: path, message: 'must be an object with a type' });
      return [];
    }
    if (hasTooManyFields(step)) {
      errors.push({ field: path, message: `has more than ${MAX_FIELDS} fields` });
      return [];
    }
    const { type, ...fields }: { type?: unknown; [field: string]: unknown } = step;
    const change = typeof type === 'string' ? byName.get(type) : undefined;
    if (!change) {
      errors.push({ field: `${path}.type`, message: `must be one of ${[...byName.keys()].join(', ')}` });
      return [];
    }
    for (const field of NOT_OF_STEPS) {
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
