import { createHash } from 'node:crypto';
import type { Decider, DomainEvent } from './decider.js';
import { LayeredMap, type StateMap } from './layered-map.js';
import { PackedMap } from './packed-map.js';

/** A state as a context declares it: scalars, plain values, lists, and maps of many values. */
export interface DeclaredState<State extends object, Event extends DomainEvent> {
  /** The state of an empty stream. It has every field that a state can have, with its maps. */
  readonly initialState: () => State;
  /**
   * Folds one event. It can set the fields and maps of the state that it is given, and replaces what they hold, never
   * changes it in place: copies share it. It never fails and never reads the clock: the event has happened.
   */
  readonly evolve: (state: State, event: Event) => State;
  /** Increases with every change of `evolve`. A change of the fields makes snapshots of before useless by itself. */
  readonly version: number;
  /** The measured memory of one value of a map or a list, in bytes; 400 and 40 by default. */
  readonly bytes?: { readonly [Field in keyof State]?: number };
}

const BYTES_IN_MAP = 400;
const BYTES_IN_LIST = 40;

type Fields = Record<string, unknown>;

/**
 * The decider of a declared state: how it is copied, measured and restored follows from the fields of an empty one. Copies
 * are made with maps over those of the original, so that they cost nothing however large those are.
 */
export function deciderOf<State extends object, Event extends DomainEvent>(
  declared: DeclaredState<State, Event>,
): Decider<State, Event> {
  const { initialState, evolve, bytes = {} } = declared;
  const empty = initialState() as Fields;
  const maps = Object.keys(empty).filter((field) => isMap(empty[field]));
  const packed = Object.entries(empty).filter(
    (entry): entry is [string, PackedMap<unknown>] => entry[1] instanceof PackedMap,
  );
  const lists = Object.keys(empty).filter((field) => Array.isArray(empty[field]));
  const bytesOf = (field: string, most: number) =>
    (bytes as Record<string, number | undefined>)[field] ?? most;
  return {
    version: versionOf(declared.version, empty),
    initialState,
    evolve,
    fork: (state) => {
      const copy = { ...state } as Fields;
      for (const field of maps) copy[field] = new LayeredMap(copy[field] as StateMap<unknown, unknown>);
      return copy as State;
    },
    revive: (state) => {
      const restored = { ...state } as Fields;
      for (const [field, like] of packed)
        restored[field] = like.filledWith((restored[field] as StateMap<number, unknown>).entries());
      return restored as State;
    },
    sizeOf: (state) => {
      const fields = state as Fields;
      let size = 0;
      for (const field of maps) {
        const map = fields[field] as StateMap<unknown, unknown>;
        // Copies, whose maps are layered and not packed, are never kept.
        if (map instanceof PackedMap) size += map.bytes;
        else size += map.size * bytesOf(field, BYTES_IN_MAP);
      }
      for (const field of lists) size += (fields[field] as unknown[]).length * bytesOf(field, BYTES_IN_LIST);
      return size;
    },
  };
}

const isMap = (value: unknown): boolean => value instanceof Map || value instanceof PackedMap;

/** A number of 31 bits for a version of the fold and the fields of the state, each with what it is. */
function versionOf(version: number, empty: Fields): number {
  const kindOf = (value: unknown): string => {
    if (value instanceof PackedMap) return `packed ${value.width}`;
    if (value instanceof Map) return 'map';
    return Array.isArray(value) ? 'list' : 'value';
  };
  const fields = Object.entries(empty)
    .map(([field, value]) => `${field} ${kindOf(value)}`)
    .sort();
  return (
    createHash('sha256')
      .update([version, ...fields].join('\n'))
      .digest()
      .readUInt32BE() >>> 1
  );
}
