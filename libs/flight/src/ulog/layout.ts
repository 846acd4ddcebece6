import type { MessageDefinition } from '@foxglove/ulog';

/** Where a field of a message stands: bytes from the start of the message, and its ULog type. */
export interface FieldPlace {
  readonly offset: number;
  readonly type: string;
}

export type Definitions = ReadonlyMap<string, MessageDefinition>;

const SIZES: Readonly<Record<string, number>> = {
  int8_t: 1,
  uint8_t: 1,
  bool: 1,
  char: 1,
  int16_t: 2,
  uint16_t: 2,
  int32_t: 4,
  uint32_t: 4,
  float: 4,
  int64_t: 8,
  uint64_t: 8,
  double: 8,
};
const MAX_NESTING = 8;

/**
 * The size of a message in bytes, padding included; undefined where a definition is missing, or contains itself (in a
 * damaged file). `known` remembers sizes, so that damaged definitions cannot make this take forever.
 */
export function sizeOf(
  name: string,
  definitions: Definitions,
  known = new Map<string, number>(),
  depth = 0,
): number | undefined {
  const basic = SIZES[name] ?? known.get(name);
  if (basic !== undefined) return Number.isNaN(basic) ? undefined : basic;
  const definition = definitions.get(name);
  let size: number | undefined = definition && depth < MAX_NESTING ? 0 : undefined;
  known.set(name, NaN);
  for (const field of definition?.fields ?? []) {
    const each = sizeOf(field.type, definitions, known, depth + 1);
    if (each === undefined || size === undefined) return undefined;
    size += each * (field.arrayLength ?? 1);
  }
  if (size !== undefined) known.set(name, size);
  return size;
}

/** Finds a field by its path: `lat`, `q[2]`, `current.alt`. Undefined where the message has no such number. */
export function placeOf(path: string, name: string, definitions: Definitions): FieldPlace | undefined {
  const [, wanted, index, rest] = /^(\w+)(?:\[(\d+)\])?(?:\.(.+))?$/.exec(path) ?? [];
  let offset = 0;
  for (const field of definitions.get(name)?.fields ?? []) {
    const size = sizeOf(field.type, definitions);
    if (size === undefined) return undefined;
    if (field.name === wanted) {
      if (Number(index ?? 0) >= (field.arrayLength ?? 1)) return undefined;
      const start = offset + Number(index ?? 0) * size;
      if (rest === undefined) return field.isComplex ? undefined : { offset: start, type: field.type };
      const inner = placeOf(rest, field.type, definitions);
      return inner && { offset: start + inner.offset, type: inner.type };
    }
    offset += size * (field.arrayLength ?? 1);
  }
  return undefined;
}

/** The number at a place; NaN where the message is too short for it, since loggers may leave trailing padding out. */
export function numberAt(view: DataView, at: number, type: string): number {
  if (at + (SIZES[type] ?? Infinity) > view.byteLength) return NaN;
  switch (type) {
    case 'bool':
      return view.getUint8(at) === 0 ? 0 : 1;
    case 'int8_t':
      return view.getInt8(at);
    case 'uint8_t':
    case 'char':
      return view.getUint8(at);
    case 'int16_t':
      return view.getInt16(at, true);
    case 'uint16_t':
      return view.getUint16(at, true);
    case 'int32_t':
      return view.getInt32(at, true);
    case 'uint32_t':
      return view.getUint32(at, true);
    case 'int64_t':
      return Number(view.getBigInt64(at, true));
    case 'uint64_t':
      // Microseconds stay exact: 2^53 of them are 285 years.
      return Number(view.getBigUint64(at, true));
    case 'float':
      return view.getFloat32(at, true);
    case 'double':
      return view.getFloat64(at, true);
    default:
      return NaN;
  }
}
