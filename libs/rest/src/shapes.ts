import { MAX_BAD_FIELDS, schemaOf, type Class, type Schema } from '#lib/platform';

/** The shape of an answer, with a name in the OpenAPI document. */
export interface Shape {
  readonly name: string;
  readonly schema: () => Schema;
}

/** Every shape that a route takes or gives: a class with rules, or a shape. They are the components of the document. */
const components = new Map<string, Class | Shape>();

/** A reference to a shape, or to an input class with rules, which becomes a component of the document. */
export function referenceTo(of: Class | Shape): Schema {
  const known = components.get(of.name);
  if (known && known !== of)
    throw new Error(`Two inputs or answers are called ${of.name}; OpenAPI needs other names.`);
  components.set(of.name, of);
  return { $ref: `#/components/schemas/${of.name}` };
}

/** All components that routes refer to so far, and those that these refer to. */
export function allComponents(): Record<string, Schema> {
  const all: Record<string, Schema> = {};
  // Components refer to components: continue until there is no new one.
  for (let before = -1; before < components.size;) {
    before = components.size;
    for (const [name, of] of components)
      all[name] ??= typeof of === 'function' ? schemaOf(of, referenceTo) : of.schema();
  }
  return all;
}

export const shape = (name: string, schema: () => Schema): Shape => ({ name, schema });
export const list = (items: Schema): Schema => ({ type: 'array', items });
export const listOf = (name: string, items: Class | Shape): Shape =>
  shape(name, () => list(referenceTo(items)));
export const object = (properties: Record<string, Schema>, required = Object.keys(properties)): Schema => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});

/** A stored object: every optional field of its input is there, null if it was not given. */
export const stored = (type: Class, more: Record<string, Schema> = {}): Schema =>
  object({ ...(schemaOf(type, referenceTo)['properties'] as Record<string, Schema>), ...more });

export const text: Schema = { type: 'string' };
export const time: Schema = { type: 'string', format: 'date-time', examples: ['2026-05-01T12:00:00.5Z'] };
export const count: Schema = { type: 'integer', minimum: 0, examples: [2] };
export const anyObject: Schema = { type: 'object', additionalProperties: true };
export const position: Schema = {
  type: 'string',
  description: 'A place in the global order. Opaque: only compare it for equality.',
  examples: ['408'],
};

/** What every command answers: the end of its stream. `key` names the thing, `example` is the id of one. */
export const recorded = (key: string, example: string) => ({
  [key]: { type: 'string', examples: [example] },
  revision: count,
  position,
});

/** One page of a list. */
export const pageOf = (items: Schema): Schema =>
  object({
    items: list(items),
    total: { type: ['integer', 'null'], minimum: 0, examples: [2], description: 'Null with `total=false`.' },
    limit: count,
    offset: count,
    next: {
      type: ['string', 'null'],
      description: 'What to give as `after` for the next page; null on the last.',
    },
  });

/** Events as they are in the log. */
export const Events = shape('Events', () =>
  list(
    object(
      {
        id: text,
        streamId: text,
        type: text,
        schemaVersion: count,
        revision: count,
        position,
        recordedAt: time,
        data: anyObject,
        metadata: anyObject,
      },
      ['id', 'type', 'revision', 'position', 'recordedAt', 'data', 'metadata'],
    ),
  ),
);

/** RFC 9457. */
export const Problem = shape('Problem', () => ({
  ...object(
    {
      type: text,
      code: { type: 'string', description: 'Stable; for programs.' },
      title: text,
      status: count,
      detail: { type: 'string', description: 'What happened, why, and what to do.' },
      errors: list(object({ field: text, message: text })),
      hasMoreErrors: {
        type: 'boolean',
        description: `There are more bad fields than the ${MAX_BAD_FIELDS} that \`errors\` names at most.`,
      },
    },
    ['type', 'code', 'title', 'status', 'detail'],
  ),
  examples: [
    {
      type: 'about:blank',
      code: 'command.id-reused',
      title: 'Conflict',
      status: 409,
      detail: 'The command id 7 belongs to another command. Send each with its own.',
    },
  ],
}));
