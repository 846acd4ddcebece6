/**
 * How much structure a JSON body can have. The cost of JSON.parse is not the length but how many values and different
 * names there are: 8 MB of `{}` take a second and 200 MB, the same bytes in one text 50 ms. So both are counted in the
 * bytes before parsing, at 1.2 ms per megabyte. The largest lists that a command accepts, 5,000 frames, have 95,000
 * values and 45,000 names. At these limits the worst body parses in about 70 ms (measured).
 *
 * An object with many names has its own hash table, which is built again when it is copied or its fields are visited:
 * 74,000 names held the process for 300 ms in all. No command has more than a few dozen; `cameraParams` can have any
 * number.
 */
export const JSON_BOUNDS = { values: 200_000, names: 75_000, fields: 1_000, depth: 64 } as const;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** The structure of a JSON text, and which limit it exceeds; the rest is then not counted. */
export interface JsonStructure {
  readonly values: number;
  /** Fields, those of all its objects together. */
  readonly names: number;
  readonly beyond?: string;
}

/** The limit that a JSON text exceeds, or undefined. */
export const beyondBounds = (json: Uint8Array): string | undefined => structureOf(json).beyond;

/**
 * Counts the structure of a JSON text. It need not be valid JSON: the parser checks that. Every value except the very
 * first comes after a comma or in brackets.
 */
export function structureOf(json: Uint8Array): JsonStructure {
  let values = 0;
  let names = 0;
  let depth = 0;
  /** The fields so far of each object that is open. */
  const fields = new Int32Array(JSON_BOUNDS.depth + 1);
  for (let i = 0; i < json.length; i++) {
    switch (json[i]) {
      case QUOTE:
        for (i++; i < json.length && json[i] !== QUOTE; i++) if (json[i] === BACKSLASH) i++;
        break;
      case COMMA:
        values++;
        break;
      case COLON:
        names++;
        if (count(fields, depth) > JSON_BOUNDS.fields)
          return { values, names, beyond: `has an object with more than ${JSON_BOUNDS.fields} fields` };
        break;
      case OPEN_LIST:
      case OPEN_OBJECT:
        values++;
        depth++;
        if (depth > JSON_BOUNDS.depth)
          return { values, names, beyond: `is nested in more than ${JSON_BOUNDS.depth} levels` };
        fields[Math.max(depth, 0)] = 0;
        break;
      case CLOSE_LIST:
      case CLOSE_OBJECT:
        depth--;
        break;
      default:
    }
    const beyond = tooMany(values, names);
    if (beyond !== undefined) return { values, names, beyond };
  }
  return { values, names };
}

function tooMany(values: number, names: number): string | undefined {
  if (values > JSON_BOUNDS.values)
    return `has more than ${JSON_BOUNDS.values} values; send it in several requests`;
  if (names > JSON_BOUNDS.names)
    return `has more than ${JSON_BOUNDS.names} fields, those of all its objects together; send it in several requests`;
  return undefined;
}

/** A text with too many closing brackets is not JSON: it is counted anywhere. */
function count(fields: Int32Array, depth: number): number {
  const level = Math.max(depth, 0);
  return (fields[level] = (fields[level] ?? 0) + 1);
}
