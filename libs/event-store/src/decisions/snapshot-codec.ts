/**
 * A state as text: JSON with maps, for plain states of objects, arrays and scalars. A Map becomes `{ "$map": [[key,
 * value], ...] }`. An object that happens to have such a key itself becomes `{ "$object": [[key, value], ...] }`, since
 * states contain JSON from users.
 */
export const encodeState = (state: unknown): string =>
  JSON.stringify(state, (_key, value: unknown) => {
    if (value instanceof Map) return { $map: [...value] };
    return isObject(value) && ('$map' in value || '$object' in value)
      ? { $object: Object.entries(value) }
      : value;
  });

export const decodeState = (text: string): unknown =>
  JSON.parse(text, (_key, value: unknown) => {
    if (!isObject(value) || Object.keys(value).length !== 1) return value;
    if ('$map' in value) return new Map(value.$map as [unknown, unknown][]);
    return '$object' in value ? Object.fromEntries(value.$object as [string, unknown][]) : value;
  });

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
