import { ArrayMaxSize, IsArray, IsInt, IsNumber, Max, Min } from 'class-validator';
import { invalidInput, MAX_BAD_FIELDS } from './errors.js';
import {
  badFields,
  IsEmailAddress,
  IsId,
  IsJsonObject,
  Meaning,
  Nested,
  Optional,
  Relation,
  Sample,
  schemaOf,
} from './validation.js';

class Point {
  @IsNumber() @Min(-90) @Max(90) readonly lat!: number;
  @IsNumber() readonly lon!: number;
}
class Mark {
  @IsId() readonly id!: string;
  @Nested(() => Point) readonly at!: Point;
  @Optional() @IsInt() readonly count?: number | null;
}
class Route {
  @Nested(() => Mark, { each: true }) @ArrayMaxSize(100_000) readonly marks!: readonly Mark[];
  @Optional() @IsArray() @IsInt({ each: true }) @ArrayMaxSize(3) readonly numbers?: readonly number[] | null;
  @Optional() @IsJsonObject() readonly notes?: object | null;
}

const mark = { id: 'm', at: { lat: 1, lon: 2 } };

/** Fails when it is read. */
const untouchable = new Proxy({}, { ownKeys: () => fail(), get: () => fail(), has: () => fail() });
function fail(): never {
  throw new Error('An item was looked at.');
}

describe('an input', () => {
  it('is refused with every bad field, in lists and below them too', () => {
    const marks = [mark, { id: '', at: { lat: 91, lon: 'east' } }, { ...mark, count: 1.5, colour: 'red' }, 7];
    expect(badFields(Route, { marks, numbers: [1, 'two'], speed: 3 })).toEqual(
      expect.arrayContaining([
        {
          field: 'marks[1].id',
          message:
            'must be 1 to 128 characters without control characters, invisible ones, and ones that turn the direction of text, and not . or .., which no URL can address',
        },
        { field: 'marks[1].at.lat', message: 'must be at most 90' },
        { field: 'marks[1].at.lon', message: 'must be number' },
        { field: 'marks[2].count', message: expect.any(String) as string },
        { field: 'marks[2].colour', message: 'is not a field of this input' },
        { field: 'marks[3]', message: 'must be object' },
        { field: 'numbers[1]', message: 'must be a whole number' },
        { field: 'speed', message: 'is not a field of this input' },
      ]),
    );
    expect(badFields(Route, { marks: [mark], numbers: null, notes: { a: [1] } })).toEqual([]);
  });

  it('is not searched for more bad fields than are named', () => {
    const marks: unknown[] = Array.from({ length: 100_000 }, () => ({}));
    marks[MAX_BAD_FIELDS] = untouchable;
    expect(badFields(Route, { marks }).length).toBeGreaterThan(MAX_BAD_FIELDS);
    const unknown = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`x${i}`, 1]));
    expect(badFields(Route, { ...unknown, marks: [] })).toHaveLength(MAX_BAD_FIELDS + 1);
    expect(badFields(Route, { marks: [{ ...mark, at: { ...mark.at, ...unknown } }] })).toHaveLength(
      MAX_BAD_FIELDS + 1,
    );
  });

  it('whose list is too long is refused for that alone, whatever the list contains', () => {
    expect(badFields(Route, { marks: [], numbers: [1, 2, 3, untouchable] })).toEqual([
      { field: 'numbers', message: 'must have at most 3 items' },
    ]);
  });
});

describe('free-form JSON', () => {
  const bad = (notes: object) => badFields(Route, { marks: [], notes });
  const refused = [
    { field: 'notes', message: expect.stringContaining('at most 16 KiB, 500 values') as string },
  ];

  it('can have as many values as allowed, wherever they are, and no more', () => {
    expect(bad({ a: Array(499).fill(1) })).toEqual([]);
    expect(bad({ a: Array(500).fill(1) })).toEqual(refused);
    // Within 16 KiB, but 5,300 objects.
    expect(bad({ a: Array(5_300).fill([]) })).toEqual(refused);
    const nested = (lists: number) => ({ a: Array.from({ length: lists }, () => ({ b: [1] })) });
    expect(bad(nested(166))).toEqual([]);
    expect(bad(nested(167))).toEqual(refused);
    expect(bad(Object.fromEntries(Array.from({ length: 501 }, (_, i) => [`x${i}`, 1])))).toEqual(refused);
  });

  it('is counted before it is visited', () => {
    expect(bad({ a: [...Array<number>(500).fill(1), untouchable] })).toEqual(refused);
  });
});

describe('a field with a meaning, a sample and a relation', () => {
  class Pair {
    @Relation<Pair>('aboveOther', 'must be above other', ({ value, other }) => value! > other!)
    @Meaning('What it is.')
    @Sample(2)
    @IsInt()
    readonly value!: number;
    @IsInt() readonly other!: number;
  }

  it('has all three', () => {
    const { properties } = schemaOf(Pair) as { properties: { value: object } };
    expect(properties.value).toMatchObject({ description: 'What it is.', examples: [2] });
    expect(badFields(Pair, { value: 1, other: 1 })).toEqual([
      { field: 'value', message: 'must be above other' },
    ]);
    expect(badFields(Pair, { value: 2, other: 1 })).toEqual([]);
  });
});

describe('a refusal', () => {
  const errors = (howMany: number) =>
    Array.from({ length: howMany }, (_, i) => ({ field: `f${i}`, message: 'is wrong' }));

  it('names every field up to a limit, and then says that there are more', () => {
    const whole = invalidInput(errors(MAX_BAD_FIELDS));
    expect(whole.data).toEqual({ errors: errors(MAX_BAD_FIELDS) });
    const cut = invalidInput(errors(MAX_BAD_FIELDS + 1));
    expect(cut.data).toEqual({ errors: errors(MAX_BAD_FIELDS), hasMoreErrors: true });
    expect(cut.message).toMatch(
      /^The input has more than 50 bad fields: f0 is wrong; .*f49 is wrong; and more$/,
    );
  });

  it('is short, however long the names of its fields', () => {
    const long = '\u{1f681}'.repeat(100_000);
    const { message, data } = invalidInput([{ field: `x${long}`, message: long }]);
    expect(message.length + JSON.stringify(data).length).toBeLessThan(5_000);
    expect(Buffer.from(message).toString()).toBe(message);
  });
});

describe('an e-mail address', () => {
  class Letter {
    @IsEmailAddress() readonly to!: string;
  }

  it.each(['ann@example.com', 'ann.b+c@sub.example.org'])('can be %s', (to) => {
    expect(badFields(Letter, { to })).toEqual([]);
  });

  it.each(['', 'ann', 'ann@', '@example.com', 'Ann <ann@example.com>', `${'a'.repeat(250)}@example.com`, 7])(
    'is not %s',
    (to) => {
      expect(badFields(Letter, { to })).toMatchObject([{ field: 'to' }]);
    },
  );
});
