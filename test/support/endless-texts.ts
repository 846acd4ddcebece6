import { compileSchema, type Schema } from '#lib/platform';

/** The paths of the texts under a schema that have no length limit; `named` resolves a reference. */
export function endlessTexts(schema: Schema, path: string, named: (reference: string) => Schema): string[] {
  if (typeof schema['$ref'] === 'string') return endlessTexts(named(schema['$ref']), path, named);
  const parts = [
    ...Object.entries((schema['properties'] ?? {}) as Record<string, Schema>),
    ...(schema['items'] ? [['items', schema['items'] as Schema] as const] : []),
    ...((schema['anyOf'] ?? []) as Schema[]).map((branch) => ['or', branch] as const),
  ];
  const here = [schema['type']].flat().includes('string') && takesAnyLength(schema) ? [path] : [];
  return [...here, ...parts.flatMap(([name, part]) => endlessTexts(part, `${path}.${name}`, named))];
}

function takesAnyLength(schema: Schema): boolean {
  const check = compileSchema(schema);
  return ['x', '1', ','].some((character) => check(character.repeat(100_001)).length === 0);
}
