import { followsFromTables } from './sql-text.js';

/** The shortest of several measurements of one check, in milliseconds. */
function cost(text: string): number {
  let least = Infinity;
  for (let n = 0; n < 7; n++) {
    const began = performance.now();
    followsFromTables(text);
    least = Math.min(least, performance.now() - began);
  }
  return least;
}

describe('the check whether SQL can be cached', () => {
  const LENGTH = 20_000;
  const filled = (piece: string) => `select ${piece.repeat(LENGTH / piece.length)}`.slice(0, LENGTH);

  // If one is quadratic in the length, it takes a thousand times as long as the other.
  it.each([
    'a',
    'a ',
    'a$',
    '_1',
    '"',
    '"a',
    "'",
    "''",
    "'a''",
    ' ',
    '(',
    '1',
    '$1',
    ':',
    ':: ',
    '::1',
    'as ',
    'pg_',
    'frame_minute',
  ])('takes time that grows with the length of the text, whatever its form: %j', (piece) => {
    const usual = cost(filled('id, name, '));
    expect(cost(filled(piece))).toBeLessThan(50 * Math.max(usual, 0.1));
  });

  it('caches nothing of tables that follow others at their own pace, whatever their context', () => {
    const kept = ['reading_hours'];
    expect(followsFromTables('select * from camera.readings', [], kept)).toBe(true);
    expect(followsFromTables('select * from camera.READING_HOURS', [], kept)).toBe(false);
  });

  it('sees a function by its whole name', () => {
    expect(followsFromTables('select count(*) from flight.waypoints')).toBe(true);
    expect(followsFromTables('select my_count (*) from flight.waypoints')).toBe(false);
    expect(followsFromTables('select $count(*) from flight.waypoints')).toBe(false);
    expect(followsFromTables('select x.unsure(1) from flight.waypoints')).toBe(false);
    expect(followsFromTables('select "count"(1), "unsure"(1) from flight.waypoints')).toBe(false);
  });
});
