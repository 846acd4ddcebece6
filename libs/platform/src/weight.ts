/** The cost of creating, reading or keeping JSON: the number of its values, and the amount of text. */
export interface Weight {
  values: number;
  characters: number;
}

/** Adds the weight of a value to a sum, without creating JSON. */
export function weigh(value: unknown, sum: Weight): Weight {
  sum.values++;
  if (typeof value === 'string') sum.characters += value.length;
  if (typeof value !== 'object' || value === null) return sum;
  if (Array.isArray(value)) {
    for (const item of value) weigh(item, sum);
    return sum;
  }
  for (const [name, field] of Object.entries(value)) {
    sum.characters += name.length;
    weigh(field, sum);
  }
  return sum;
}
