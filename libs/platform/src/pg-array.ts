const needsQuotes = /[{},"\\\s]|^$|^null$/i;

/**
 * A PostgreSQL array literal of text-like values. The one of node-postgres quotes every value and costs several times
 * as much on the bulk paths; most values here (numbers, ids, times) need no quotes.
 */
export function pgArray(values: readonly (string | number | boolean | null)[]): string {
  let text = '{';
  for (let i = 0; i < values.length; i++) {
    if (i > 0) text += ',';
    const value = values[i];
    if (value === null || value === undefined) text += 'NULL';
    else if (typeof value !== 'string') text += String(value);
    else text += needsQuotes.test(value) ? `"${value.replace(/["\\]/g, '\\$&')}"` : value;
  }
  return text + '}';
}
