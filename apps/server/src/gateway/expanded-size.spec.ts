import { expandedSize, loadParser, MAX_EXPANDED_SIZE, SyntaxFault } from './expanded-size.js';

beforeAll(loadParser);

const size = (sql: string) => expandedSize(sql);

describe('the size that a statement may grow to', () => {
  it('is about that of its text, where nothing is copied', () => {
    expect(size('select 1')).toBeLessThan(10);
    expect(size(`select ${Array(1_000).fill('x').join(' + ')} from flight.waypoints`)).toBeLessThan(10_000);
    const or = Array.from({ length: 300 }, (_, n) => `(frame_id = ${n} and altitude > 1)`).join(' or ');
    expect(size(`select * from frame_results where ${or}`)).toBeLessThan(10_000);
  });

  it.each([
    [
      'an analysis in steps',
      `with numbered as (select *, row_number() over (partition by flight_id order by timestamp) as n from frame_results),
            steps as (select a.flight_id, a.n, great_circle_metres(a.gps_lat, a.gps_lon, b.gps_lat, b.gps_lon) as metres,
                             extract(epoch from b.timestamp - a.timestamp) as seconds
                        from numbered a join numbered b on b.flight_id = a.flight_id and b.n = a.n + 1),
            speeds as (select flight_id, n, metres / nullif(seconds, 0) as speed from steps where seconds between 0 and 60),
            summary as (select flight_id, avg(speed) as mean, max(speed) as most, percentile_cont(0.9) within group (order by speed)
                          from speeds group by flight_id having count(*) > 10)
       select f.name, s.* from summary s join flights f on f.id = s.flight_id where s.most > 2 * s.mean order by s.most desc limit 20`,
    ],
    [
      'a report of a year by a dozen UNION ALL',
      `select month, sum(n) from (${Array.from({ length: 12 }, (_, m) => `select ${m} as month, count(*) as n from frame_results where timestamp between '2026-01-01' and '2026-02-01'`).join(' union all ')}) m
        where month > 1 and n > 3 group by month order by month`,
    ],
    [
      'a chain of FULL JOIN',
      `select id from (select 1 as id) t0 ${Array.from({ length: 15 }, (_, n) => `full join (select ${n} as id) t${n + 1} using (id)`).join(' ')}`,
    ],
    ['one row taken apart', `select (r).* from (select row(1, 2)::flight.flights as r) q`],
  ])('leaves room for %s', (_, sql) => {
    expect(size(sql)).toBeLessThan(MAX_EXPANDED_SIZE / 4);
  });

  it('counts a CTE once where PostgreSQL computes it once, and in each place where it stands there', () => {
    const chain = (how: string, times: number) =>
      `with c0 as ${how} (select 1 as x), ${Array.from({ length: times }, (_, n) => `c${n + 1} as ${how} (select a.x + b.x as x from c${n} a, c${n} b)`).join(', ')} select * from c${times}`;
    for (const once of ['', 'materialized']) expect(size(chain(once, 30))).toBeLessThan(1_000);
    expect(size(chain('not materialized', 30))).toBeGreaterThan(MAX_EXPANDED_SIZE);
    // Named once, each stands where it is named.
    const line = `with c0 as (select 1 as x), ${Array.from({ length: 30 }, (_, n) => `c${n + 1} as (select x + x as x from c${n})`).join(', ')} select * from c30`;
    expect(size(line)).toBeGreaterThan(MAX_EXPANDED_SIZE);
  });

  it('multiplies conditions by the arms of UNION ALL', () => {
    const arms = Array(150).fill('select lat from waypoints').join(' union all ');
    expect(size(`select * from (${arms}) a, (${arms}) b where a.lat + 1 = 2`)).toBeGreaterThan(100_000);
  });

  it('cannot be told of what is nested deeper than this process can look', () => {
    expect(size(`select ${'('.repeat(9_900)}1${')'.repeat(9_900)}`)).toBeLessThan(10);
    expect(size(`select ${'array['.repeat(2_800)}1${']'.repeat(2_800)}`)).toBe(Infinity);
    const withs = (times: number): string =>
      times === 0 ? 'select 1' : `with a as (${withs(times - 1)}) select * from a`;
    expect(size(withs(10))).toBeLessThan(1_000);
    expect(size(withs(20))).toBe(Infinity);
    // And the parser works on.
    expect(size('select 1')).toBeLessThan(10);
  });

  it('is asked of one statement alone', () => {
    expect(() => size('select 1; select 2')).toThrow(SyntaxFault);
    expect(() => size('select from where')).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/syntax error/), position: 13 }) as Error,
    );
  });
});
