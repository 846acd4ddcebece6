/**
 * How much structure a JSON body may have. What JSON.parse costs is not its length but how many values and how many
 * different names it makes: 8 MB of `{}` take a second and 200 MB, the same in one text 50 ms. So both are counted in the
 * bytes before anything is made of them, at 1.2 ms a megabyte. The largest lists that a command takes, 5,000 frames, have
 * 95,000 values and 45,000 names. At these bounds the worst body parses in about 70 ms (measured).
 *
 * An object with many names is a table of its own, which whoever copies it or looks at each of its fields builds again:
 * 74,000 of them held the process for 300 ms in all. No command has more than a few dozen; `cameraParams` may have as many
 * as somebody likes.
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

/** What a JSON text is made of, and what is too much about it; then the rest is not counted. */
export interface JsonStructure {
  readonly values: number;
  /** Fields, those of all its objects together. */
  readonly names: number;
  readonly beyond?: string;
}

/** What is too much about a JSON text, or undefined. */
export const beyondBounds = (json: Uint8Array): string | undefined => structureOf(json).beyond;

/**
 * Counts what a JSON text is made of. It need not be JSON at all: that is for the parser to find. Every value but the first of
 * all is behind a comma, or in brackets.
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

/** What closes more than it opens is no JSON: it is counted somewhere. */
function count(fields: Int32Array, depth: number): number {
  const level = Math.max(depth, 0);
  return (fields[level] = (fields[level] ?? 0) + 1);
}
