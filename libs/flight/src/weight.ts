/** What JSON costs whoever makes it, reads it or keeps it: how many values it is made of, and how much text. */
export interface Weight {
  values: number;
  characters: number;
}

/** Adds the weight of a value to a sum, without making JSON of it. */
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
