import {
  conflict,
  invalidInput,
  MAX_BAD_FIELDS,
  type Class,
  type FieldError,
  weigh,
  type Weight,
} from '#lib/platform';
import { eventsOf, wholeOf, type DomainEvent } from '#lib/event-store';
import {
  COMMAND_OPTIONS,
  idOf,
  newId,
  type AnySlice,
  type Decide,
  type Slice,
  type StreamCommand,
} from './command.js';
import type { ClaimedValue } from './claim-kind.js';
import { commandOfFields } from './command-fields.js';
import type { StreamType } from './stream-type.js';

/** One of several commands: its type and its own fields, without the thing that it changes. */
export interface Step {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface StepResults {
  /** The further results of each command, in their order. */
  readonly results: readonly object[];
}

/** A command that is several, of things of one type. */
export interface SeveralCommands extends StreamCommand {
  readonly commands: readonly Step[];
}

/** A slice of such a command, with those that can be its steps. */
export interface SeveralSlice<
  C extends SeveralCommands = SeveralCommands,
  State = unknown,
  Event extends DomainEvent = DomainEvent,
> extends Slice<C, State, Event, StepResults> {
  readonly check: (command: C) => void;
  readonly steps: ReadonlyMap<string, AnySlice>;
}

/**
 * The most that all commands together can record. They are decided, written and read in one go each, without turns for
 * other requests: 14 times 5,000 frames held the process for 3 s. An event can be larger than its command (all details
 * of a flight for a new name, all frames of two merged route chunks), so the events are measured.
 */
const MOST: Weight = { values: 250_000, characters: 8 * 1024 * 1024 };

/**
 * Several commands on one thing, each seeing the effects of those before it: all of them are recorded, or none. Refused
 * with `transaction.too-much` if their events would be too large together. `slices`: those that can be steps.
 */
export function severalCommands<C extends SeveralCommands, State, Event extends DomainEvent>(
  stream: StreamType<State, Event>,
  command: Class<C>,
  slices: readonly AnySlice[],
): SeveralSlice<C, State, Event> {
  const steps = new Map(slices.map((one) => [one.command.name, one]));
  const { decider } = stream;
  const made = new WeakMap<C, readonly MadeStep<State, Event>[]>();
  const idIn = (several: C) => Reflect.get(several, stream.key) as string;
  /** Made once, however often the command is decided. */
  const stepsOf = (several: C) => {
    const known = made.get(several) ?? makeSteps<State, Event>(steps, stream.key, idIn(several), several);
    made.set(several, known);
    return known;
  };
  const decide: Decide<C, State, Event, StepResults> = (several, before, sent) => {
    let state = decider.fork(before);
    const events: Event[] = [];
    const results: object[] = [];
    // What holds after the last step: one can take what an earlier one has given back.
    const takes = new Map<string, ClaimedValue>();
    const releases = new Map<string, ClaimedValue>();
    const weight: Weight = { values: 0, characters: 0 };
    for (const [i, { slice, command: step }] of stepsOf(several).entries()) {
      const names = Object.keys(slice.reads?.(step) ?? {});
      const reads = Object.fromEntries(names.map((name) => [name, sent.reads[`${i} ${name}`]]));
      const decision = slice.decide(step, state, { at: sent.at, reads });
      for (const event of eventsOf(decision)) {
        weigh(event.data, weight);
        if (weight.values > MOST.values || weight.characters > MOST.characters)
          throw tooMuch(stream, idIn(several));
        events.push(event);
        state = decider.evolve(state, event);
      }
      const whole = wholeOf(decision);
      results.push(whole.answer ?? {});
      if (whole.releases === 'all')
        throw new Error(`${slice.command.name} gives back all values, and is no step.`);
      for (const one of whole.releases ?? []) move(one, takes, releases);
      for (const one of whole.takes ?? []) move(one, releases, takes);
    }
    return {
      events,
      answer: { results },
      ...(takes.size > 0 && { takes: [...takes.values()] }),
      ...(releases.size > 0 && { releases: [...releases.values()] }),
    };
  };
  /** What the steps read. */
  const reads = (several: C) =>
    Object.fromEntries(
      stepsOf(several).flatMap(({ slice, command: step }, i) =>
        Object.entries(slice.reads?.(step) ?? {}).map(([name, read]) => [`${i} ${name}`, read]),
      ),
    );
  const doRead = slices.some((slice) => slice.reads);
  const claims = slices.flatMap((slice) => slice.claims ?? []);
  return {
    stream,
    command,
    check: stepsOf,
    ...(doRead && { reads }),
    ...(claims.length > 0 && { claims }),
    decide,
    steps,
  };
}

function move(one: ClaimedValue, from: Map<string, ClaimedValue>, to: Map<string, ClaimedValue>): void {
  const key = one.kind.keyOf(one.value);
  from.delete(key);
  to.set(key, one);
}

const tooMuch = ({ category, key }: Pick<StreamType<never, never>, 'category' | 'key'>, id: string) =>
  conflict(
    'transaction.too-much',
    `The commands on ${category.name} ${id} would together record events of more than ${MOST.values} values or ` +
      `${MOST.characters / 2 ** 20} MiB of text. Nothing was recorded. Send them in several transactions.`,
    { [key]: id },
  );

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

interface MadeStep<State, Event extends DomainEvent> {
  readonly slice: Slice<StreamCommand, State, Event>;
  readonly command: StreamCommand;
}

/** Throws `input.invalid` with the bad fields of the commands; stops looking after `MAX_BAD_FIELDS`. */
function makeSteps<State, Event extends DomainEvent>(
  steps: ReadonlyMap<string, AnySlice>,
  key: string,
  id: string,
  { commands, commandId }: SeveralCommands,
): MadeStep<State, Event>[] {
  const errors: FieldError[] = [];
  const notOfSteps: readonly string[] = [key, ...COMMAND_OPTIONS];
  const all = commands.flatMap((step, i) => {
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
    const { type, ...sent }: { type?: unknown; [field: string]: unknown } = step;
    const slice = typeof type === 'string' ? steps.get(type) : undefined;
    if (!slice) {
      errors.push({ field: `${path}.type`, message: `must be one of ${[...steps.keys()].join(', ')}` });
      return [];
    }
    const own = Object.fromEntries(Object.entries(sent).filter(([field]) => !notOfSteps.includes(field)));
    for (const field of notOfSteps)
      if (field in sent)
        errors.push({ field: `${path}.${field}`, message: 'is not a field of a command in a transaction' });
    const stepId = commandId ? { commandId: newId(commandId, `step ${i}`) } : {};
    const command = slice.command as Class<StreamCommand>;
    const { command: madeStep, errors: bad } = commandOfFields(command, own, { [key]: id, ...stepId });
    const other = makerOfAnother(command, own, key, id);
    if (other !== undefined)
      errors.push({ field: `${path}.${other}.id`, message: 'must be the one that the transaction changes' });
    for (const { field, message } of bad) errors.push({ field: `${path}.${field}`, message });
    return errors.length > 0 ? [] : [{ slice, command: madeStep }];
  });
  if (errors.length > 0) throw invalidInput(errors);
  return all;
}

/** The field of a command that makes another thing than the one with this id: it takes its key from what it makes. */
function makerOfAnother(
  command: Class<StreamCommand>,
  fields: Readonly<Record<string, unknown>>,
  key: string,
  id: string,
): string | undefined {
  const field = Object.keys(fields).find((name) => ![undefined, id].includes(idOf(fields[name])));
  if (field === undefined) return undefined;
  const Command = command as new (fields: object) => StreamCommand;
  return Reflect.get(new Command({ ...fields, [key]: id }), key) === idOf(fields[field]) ? field : undefined;
}
