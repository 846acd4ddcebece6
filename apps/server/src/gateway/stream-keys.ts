import { IsString } from 'class-validator';
import { IsKnownId, Optional, type Class } from '#lib/platform';
import type { AnyStreamType, SeveralSlice } from '#lib/waylog';
import { contexts } from '../../../contexts.js';

// The fields that name things, such as `flightId`: one for each type of stream, as its commands have it.

const streams = contexts.flatMap((context) => context.streams);
const several = contexts
  .flatMap(({ commands }) => commands)
  .filter((slice): slice is SeveralSlice => 'steps' in slice);

/** The id of a thing in the fields of a command, with its type; undefined if they name none, or several. */
export function thingIn(
  fields: Readonly<Record<string, unknown>>,
  among: readonly AnyStreamType[] = streams,
): { readonly stream: AnyStreamType; readonly id: string } | undefined {
  const [found, another] = among.filter(({ key }) => typeof fields[key] === 'string');
  return found && !another ? { stream: found, id: fields[found.key] as string } : undefined;
}

/** The command that is several, on streams of a type. */
export const severalOn = (stream: AnyStreamType): SeveralSlice | undefined =>
  several.find((slice) => slice.stream === stream);

/** The types of streams that a transaction can change. */
export const changedTogether = several.map(({ stream }) => stream as AnyStreamType);

/** Gives an input class a field for every type of stream that a transaction can change: the one of it must be there. */
export const NamesThing = () => (target: Class) => {
  for (const { key } of changedTogether) {
    if (changedTogether.length > 1) Optional()(target.prototype as object, key);
    IsKnownId()(target.prototype as object, key);
  }
};

/** Gives an answer a field for every type of stream. */
export const MayNameThing = () => (target: Class) => {
  for (const { key } of streams) {
    Optional()(target.prototype as object, key);
    IsString()(target.prototype as object, key);
  }
};
