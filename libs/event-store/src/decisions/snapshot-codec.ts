/** A state as text: JSON with maps (`{ "$map": [[key, value], ...] }`), for plain states of objects, arrays and scalars. */
export const encodeState = (state: unknown): string =>
  JSON.stringify(state, (_key, value: unknown) => (value instanceof Map ? { $map: [...value] } : value));

export const decodeState = (text: string): unknown =>
  JSON.parse(text, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && '$map' in value && Array.isArray(value.$map)
      ? new Map(value.$map as [unknown, unknown][])
      : value,
  );
