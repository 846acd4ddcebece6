import fc from 'fast-check';
import { decodeState, encodeState } from './decisions/snapshot-codec.js';
import type { Json, JsonObject, RecordedEvent } from './event-store.js';
import { decodeMetadata, encodeMetadata } from './postgres/metadata.js';
import { eventLine, parseEvent } from './transfer/format.js';
import { schemaVersionOf, upcaster } from './upcasting.js';
import type { Upcast, Upcasters } from './vocabulary.js';

const numRuns = Number(process.env['WAYLOG_FUZZ_RUNS'] ?? 1_000);
const seed = Number(process.env['WAYLOG_FUZZ_SEED'] ?? 20_261_121);
const check = <T>(property: fc.IProperty<T>): void => fc.assert(property, { numRuns, seed });

/** Names with a meaning in JavaScript or in a codec. */
const name = fc.oneof(
  fc.constantFrom(
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    '$map',
    '$object',
    'toJSON',
    'length',
    '',
  ),
  fc.string({ unit: 'binary', maxLength: 4 }),
);
const scalar = fc.oneof(
  fc.constantFrom<unknown>(null, true, false, 0, '', '$map', '\u2028'),
  fc.string({ unit: 'binary', maxLength: 6 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
  fc.integer(),
);
const objectOf = (value: fc.Arbitrary<unknown>) =>
  fc.array(fc.tuple(name, value), { maxLength: 3 }).map((entries) => Object.fromEntries(entries) as object);
const { json } = fc.letrec<{ json: unknown }>((tie) => ({
  json: fc.oneof({ maxDepth: 4 }, scalar, objectOf(tie('json')), fc.array(tie('json'), { maxLength: 3 })),
}));
const { state } = fc.letrec<{ state: unknown }>((tie) => ({
  state: fc.oneof(
    { maxDepth: 4 },
    scalar,
    objectOf(tie('state')),
    fc.array(tie('state'), { maxLength: 3 }),
    fc
      .array(fc.tuple(fc.oneof(fc.integer(), name), tie('state')), { maxLength: 3 })
      .map((entries) => new Map(entries)),
  ),
}));
const object = objectOf(json) as fc.Arbitrary<JsonObject>;

/** A value with all its own properties, and maps as maps: toEqual ignores `__proto__`. */
const told = (value: unknown): unknown =>
  value instanceof Map
    ? { map: [...(value as Map<unknown, unknown>)].map(([k, v]) => [k, told(v)]) }
    : Array.isArray(value)
      ? value.map(told)
      : typeof value === 'object' && value !== null
        ? { object: Object.keys(value).map((key) => [key, told((value as Record<string, unknown>)[key])]) }
        : { value: Object.is(value, -0) ? 0 : value };

describe('a snapshot', () => {
  it('restores the state that it was taken of, whatever the names in its maps and objects', () =>
    check(fc.property(state, (one) => expect(told(decodeState(encodeState(one)))).toEqual(told(one)))));
});

const uuid = fc.uuid();
const metadata = (id: string) =>
  fc
    .tuple(
      fc.record({
        commandId: fc.oneof(fc.constant(id), fc.constantFrom('c', '', 'null')),
        command: name,
        correlationId: fc.oneof(fc.constant(id), fc.constantFrom('c', '', 'd')),
        causationId: fc.oneof(fc.constant(id), fc.constantFrom('c', '', 'e')),
        actor: name,
      }),
      object,
    )
    .map(([known, more]) => ({ ...more, ...known }));
const recorded: fc.Arbitrary<RecordedEvent> = uuid.chain((id) =>
  fc.record({
    id: fc.constant(id),
    streamId: fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 10 })
      .map((s) => `s${s.replace(/\p{Cc}/gu, '')}`),
    revision: fc.nat(2 ** 31 - 1),
    position: fc.nat().map(String),
    recordedAt: fc.constant('2026-05-01T12:00:00.000Z'),
    type: fc.constantFrom('Happened', '__proto__', 'constructor', 'toString', 'crc32', 'ü'),
    schemaVersion: fc.constant(1),
    data: object,
    metadata: metadata(id),
  }),
);

describe('the metadata of an event', () => {
  it('is complete when it is read again, whatever ids are equal', () =>
    check(
      fc.property(recorded, (event) => {
        const before = JSON.stringify(event.metadata);
        const back = decodeMetadata(event.id, encodeMetadata(event));
        const byName = (m: object) =>
          Object.entries(m)
            .map(([k, v]) => [k, told(v)])
            .sort();
        expect(byName(back)).toEqual(byName(event.metadata));
        expect(JSON.stringify(event.metadata)).toBe(before);
      }),
    ));

  it('has no newline in the log, which separates entries by newlines', () =>
    check(fc.property(recorded, (event) => expect(encodeMetadata(event)).not.toMatch(/[\n\r]/))));
});

describe('the line of an event', () => {
  it('holds the event that it was made of', () =>
    check(
      fc.property(recorded, (event) => {
        const { line, ...back } = parseEvent(eventLine(event), 7);
        expect(line).toBe(7);
        expect(told(back)).toEqual(told(JSON.parse(JSON.stringify({ ...back, ...event }))));
      }),
    ));
});

describe('old events', () => {
  const step: fc.Arbitrary<Upcast> = fc.oneof(
    name.map(
      (to): Upcast =>
        (data) =>
          Object.fromEntries<Json | undefined>([...Object.entries(data), [to, 'new']]),
    ),
    name.map(
      (gone): Upcast =>
        (data) =>
          Object.fromEntries<Json | undefined>(Object.entries(data).filter(([key]) => key !== gone)),
    ),
  );
  const upcasters: fc.Arbitrary<Upcasters> = fc
    .array(fc.tuple(fc.constantFrom('Happened', 'toString', 'ü'), fc.array(step, { maxLength: 4 })), {
      maxLength: 3,
    })
    .map((entries) => Object.fromEntries(entries) as Upcasters);

  const readerOf = (upcasters: Upcasters) => upcaster({ thing: { upcasters } });
  const known = recorded.map((event) => ({ ...event, streamId: `thing-${event.streamId}` }));

  it('are brought to the newest shape from every version, as if step by step, and only once', () =>
    check(
      fc.property(known, upcasters, fc.integer({ min: 1, max: 5 }), (event, steps, schemaVersion) => {
        const newest = schemaVersionOf(steps, event.type);
        expect(newest).toBe(
          (Object.entries(steps).find(([type]) => type === event.type)?.[1].length ?? 0) + 1,
        );
        const read = readerOf(steps);
        const old = { ...event, schemaVersion };
        if (schemaVersion > newest) {
          expect(() => read(old)).toThrow(
            expect.objectContaining({ code: 'event.newer-than-code' }) as Error,
          );
          return;
        }
        let { data } = old;
        for (let version = schemaVersion; version < newest; version++)
          data = (steps[event.type]?.[version - 1] as Upcast)(data);
        const now = read(old);
        expect({ ...now, data: told(now.data) }).toEqual({ ...old, schemaVersion: newest, data: told(data) });
        expect(read(now)).toBe(now);
      }),
    ));

  it('are unreadable if their step fails, and the events beside them are not', () =>
    check(
      fc.property(known, (event) => {
        const read = readerOf({
          [event.type]: [
            () => {
              throw new Error('no such field');
            },
          ],
        });
        const now = read(event);
        expect(() => now.data).toThrow(expect.objectContaining({ code: 'event.unreadable' }) as Error);
      }),
    ));
});
