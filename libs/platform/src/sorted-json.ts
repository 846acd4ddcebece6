/** JSON with the fields of every object in the order of their names: neither jsonb nor an event store keeps another one. */
export const sortedJson = (value: object): string => JSON.stringify(value, sortFields);

function sortFields(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
