import fc from 'fast-check';
import { pgArray } from './pg-array.js';
import { millisecondsOf, parseTimestamp, timestampFromPostgres } from './timestamp.js';

const numRuns = Number(process.env['WAYLOG_FUZZ_RUNS'] ?? 2_000);
const seed = Number(process.env['WAYLOG_FUZZ_SEED'] ?? 20_261_121);
const check = <T>(property: fc.IProperty<T>): void => fc.assert(property, { numRuns, seed });

const two = (n: number) => String(n).padStart(2, '0');
const micros = fc.oneof(
  fc.nat(999_999),
  fc.nat(999).map((ms) => ms * 1_000),
);
const instant = fc.tuple(
  fc.integer({ min: Date.UTC(1970, 0, 2) / 1e3, max: Date.UTC(2199, 11, 30) / 1e3 }),
  micros,
);
const canonical = (seconds: number, us: number) => {
  const digits = String(us).padStart(6, '0');
  return `${new Date(seconds * 1e3).toISOString().slice(0, 19)}.${digits.endsWith('000') ? digits.slice(0, 3) : digits}Z`;
};

describe('a time', () => {
  it('has one text, which is its own canonical form and sorts by time', () =>
    check(
      fc.property(instant, instant, ([a, ua], [b, ub]) => {
        const [first, second] = [canonical(a, ua), canonical(b, ub)];
        expect(parseTimestamp(first)).toBe(first);
        expect(millisecondsOf(first)).toBe(a * 1e3 + Math.floor(ua / 1e3));
        if (a !== b) expect(millisecondsOf(first) < millisecondsOf(second)).toBe(a < b);
      }),
    ));

  it('is the same in whatever zone and with however many digits it is written', () =>
    check(
      fc.property(
        instant,
        fc.integer({ min: -23 * 60 - 59, max: 23 * 60 + 59 }),
        fc.boolean(),
        fc.boolean(),
        ([seconds, us], offset, isLower, isPadded) => {
          const local = new Date((seconds + offset * 60) * 1e3).toISOString().slice(0, 19);
          const digits = String(us)
            .padStart(6, '0')
            .replace(isPadded ? /$^/ : /0+$/, '');
          const minutes = Math.abs(offset);
          const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
          const text = `${isLower ? local.toLowerCase() : local}${digits && `.${digits}`}${zone}`;
          expect({ text, is: parseTimestamp(text) }).toEqual({ text, is: canonical(seconds, us) });
        },
      ),
    ));

  it("comes back from PostgreSQL's text of it", () =>
    check(
      fc.property(instant, ([seconds, us]) => {
        const digits = String(us).padStart(6, '0').replace(/0+$/, '');
        const [day, time] = new Date(seconds * 1e3).toISOString().slice(0, 19).split('T');
        const fraction = digits && `.${digits}`;
        expect(timestampFromPostgres(`${day} ${time}${fraction}+00`)).toBe(canonical(seconds, us));
        expect(timestampFromPostgres(`${day}T${time}${fraction}+00:00`)).toBe(canonical(seconds, us));
      }),
    ));

  it('is refused, or one that the calendar has, whatever the text', () => {
    const near = fc
      .tuple(
        fc.constantFrom('0000', '0070', '1969', '1970', '2000', '2100', '2199', '2200', '9999'),
        fc.integer({ min: 0, max: 13 }),
        fc.integer({ min: 0, max: 32 }),
        fc.integer({ min: 0, max: 25 }),
        fc.integer({ min: 0, max: 61 }),
        fc.integer({ min: 0, max: 61 }),
        fc.constantFrom('', '.', '.1', '.123456', '.1234567'),
        fc.constantFrom('Z', 'z', '', '+00:00', '-23:59', '+24:00', '+14', ' Z'),
      )
      .map(
        ([y, mo, d, h, mi, s, f, z]) => `${y}-${two(mo)}-${two(d)}T${two(h)}:${two(mi)}:${two(s)}${f}${z}`,
      );
    let found = 0;
    check(
      fc.property(fc.oneof(near, fc.string({ unit: 'binary', maxLength: 30 })), (text) => {
        const time = parseTimestamp(text);
        if (time === undefined) return;
        found++;
        expect(time).toMatch(/^(19[7-9]|20|21)\d{1,2}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{3}|\d{6})Z$/);
        expect(new Date(time).toISOString().slice(0, 23)).toBe(time.slice(0, 23));
        expect(parseTimestamp(time)).toBe(time);
        // The calendar must have the day of the text, too.
        const day = text.slice(0, 10);
        expect(new Date(`${day}T00:00:00Z`).toISOString().slice(0, 10)).toBe(day);
      }),
    );
    expect(found).toBeGreaterThan(0);
  });
});

/** Array literals by the rules of PostgreSQL's manual (8.15.2): what a server reads from the text. */
function parsed(literal: string): (string | null)[] {
  expect(literal.startsWith('{') && literal.endsWith('}')).toBe(true);
  const items: (string | null)[] = [];
  let i = 1;
  while (i < literal.length - 1) {
    let text = '';
    if (literal[i] === '"') {
      for (i++; literal[i] !== '"'; i++) text += literal[i] === '\\' ? literal[++i] : literal[i];
      i++;
      items.push(text);
    } else {
      while (i < literal.length - 1 && literal[i] !== ',') {
        const c = literal[i++] as string;
        if ('{}"\\'.includes(c)) throw new Error(`malformed array literal: ${literal}`);
        text += c;
      }
      const trimmed = text.replace(/^[ \t\n\v\f\r]+|[ \t\n\v\f\r]+$/g, '');
      if (trimmed === '') throw new Error(`malformed array literal: ${literal}`);
      items.push(/^null$/i.test(trimmed) ? null : trimmed);
    }
    if (i < literal.length - 1 && literal[i++] !== ',')
      throw new Error(`malformed array literal: ${literal}`);
  }
  return items;
}

describe('an array literal', () => {
  const value = fc.oneof(
    fc.constantFrom(
      '',
      'null',
      'NULL',
      '"',
      '\\',
      '\\"',
      '{',
      '}',
      ',',
      ' ',
      '\t',
      '\v',
      '\u00a0',
      '\u0085',
      '\ufeff',
    ),
    fc.string({ unit: 'binary' }),
    fc.double({ noNaN: true }),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
  );
  it('holds the values that it was made of, whatever they contain', () =>
    check(
      fc.property(fc.array(value), (values) => {
        expect(parsed(pgArray(values))).toEqual(values.map((v) => (v === null ? null : String(v))));
      }),
    ));
});
