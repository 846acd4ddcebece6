import { badFields, schemaOf, type Class, type FieldError } from '#lib/platform';
import type { CommandOptions, StreamCommand } from './command.js';

/** A command made of fields that somebody sent, and which of them are bad: with any of these it must not be run. */
export interface MadeCommand<C> {
  readonly command: C;
  readonly errors: readonly FieldError[];
}

/** Makes a command. `options` are what it has in every case, whatever follows from its fields. */
export function commandOfFields<C extends StreamCommand>(
  command: Class<C>,
  sent: Readonly<Record<string, unknown>>,
  options: Readonly<Record<string, unknown>> & CommandOptions,
): MadeCommand<C> {
  // Only known fields are copied: no field can use the name of a property that every object has.
  const names = fieldsOf(command);
  const fields = Object.fromEntries(Object.entries(sent).filter(([field]) => names.has(field)));
  const Command = command as new (fields: object) => C;
  const made = Object.assign(new Command({ ...fields, ...options }), options);
  const errors = [
    ...Object.keys(sent)
      .filter((field) => !names.has(field))
      .map((field) => ({ field, message: 'is not a field of this command' })),
    ...badFields(command, made),
    // Some fields are derived from others: a caller that gives them too must give the same value.
    ...Object.entries(fields).flatMap(([field, value]) => {
      const derived: unknown = Reflect.get(made, field);
      return derived === value
        ? []
        : [{ field, message: `follows from the other fields, which make it ${JSON.stringify(derived)}` }];
    }),
  ];
  return { command: made, errors };
}

const known = new Map<Class, ReadonlySet<string>>();

function fieldsOf(command: Class): ReadonlySet<string> {
  let fields = known.get(command);
  if (!fields) {
    fields = new Set(Object.keys(schemaOf(command)['properties'] as object));
    known.set(command, fields);
  }
  return fields;
}
