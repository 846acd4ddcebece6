import { expandedSize, loadParser, MAX_EXPANDED_SIZE, SyntaxFault } from './expanded-size.js';

beforeAll(loadParser);

const size = (sql: string) => expandedSize(sql);

describe('the size that a statement can grow to', () => {
  it('is about the size of its text if nothing is copied', () => {
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
    [
      'steps of which each adds a column that no other uses',
      `with c0 as (select lat as x, lon as y, 1 as z from waypoints), ${Array.from({ length: 12 }, (_, n) => `c${n + 1} as (select x, y, case when x > 1 then x else y end as z from c${n} where y between 0 and 1)`).join(', ')} select * from c12`,
    ],
    ['one row taken apart', `select (r).* from (select row(1, 2)::flight.flights as r) q`],
  ])('leaves room for %s', (_, sql) => {
    expect(size(sql)).toBeLessThan(MAX_EXPANDED_SIZE / 4);
  });

  it('counts a CTE once if it must be computed once, and otherwise at each place that names it', () => {
    const chain = (how: string, times: number) =>
      `with c0 as ${how} (select 1 as x), ${Array.from({ length: times }, (_, n) => `c${n + 1} as ${how} (select a.x + b.x as x from c${n} a, c${n} b)`).join(', ')} select * from c${times}`;
    expect(size(chain('materialized', 30))).toBeLessThan(1_000);
    for (const copied of ['', 'not materialized'])
      expect(size(chain(copied, 30))).toBeGreaterThan(MAX_EXPANDED_SIZE);
    const line = `with c0 as (select 1 as x), ${Array.from({ length: 30 }, (_, n) => `c${n + 1} as (select x + x as x from c${n})`).join(', ')} select * from c30`;
    expect(size(line)).toBeGreaterThan(MAX_EXPANDED_SIZE);
  });

  const nested = (times: number, around: (inner: string, i: number) => string, inmost: string) => {
    let e = inmost;
    for (let i = 0; i < times; i++) e = around(e, i);
    return e;
  };
  const steps = (times: number, step: (i: number) => string) =>
    Array.from({ length: times }, (_, i) => step(i)).join(', ');

  // Each of these made PostgreSQL take hundreds of megabytes at 16 levels or so.
  it.each([
    [
      'IN with items that are no constants',
      `select ${nested(25, (e) => `(${e} in (x, x))::int`, 'x')} from (select 1 as x) q`,
    ],
    [
      'rows that are named whole',
      nested(30, (e) => `select q a, q b from (${e}) q`, 'select 1 as a, 2 as b'),
    ],
    [
      'rows made of .*',
      nested(30, (e) => `select row(q.*) a, row(q.*) b from (${e}) q`, 'select 1 as a, 2 as b'),
    ],
    [
      'rows that a function is named of',
      nested(30, (e) => `select q.to_json a, q.to_json b from (${e}) q`, 'select 1 as a, 2 as b'),
    ],
    [
      'LATERAL',
      `select a30.x from (select 1 as x) a0, ${steps(30, (i) => `lateral (select a${i}.x + a${i}.x as x) a${i + 1}`)}`,
    ],
    [
      'a JOIN that is LATERAL',
      `select a30.x from (select 1 as x) a0 ${Array.from({ length: 30 }, (_, i) => `cross join lateral (select a${i}.x + a${i}.x as x) a${i + 1}`).join(' ')}`,
    ],
    [
      'CTEs under the word RECURSIVE',
      `with recursive c0 as (select 1 as x), ${steps(30, (i) => `c${i + 1} as (select x + x as x from c${i})`)} select x from c30`,
    ],
    [
      'CTEs that name those behind them',
      `with recursive ${steps(30, (i) => `c${30 - i} as (select x + x as x from c${29 - i})`)}, c0 as (select 1 as x) select x from c30`,
    ],
    [
      'names of CTEs that are used for something else, too',
      `with c0 as (select 1 as x), ${steps(30, (i) => `c${i + 1} as (select x + x as x from c${i})`)} select x from c30, ${steps(30, (i) => `(with c${i} as (select 1) select 1 from c${i}) z${i}`)}`,
    ],
    [
      'columns with other names',
      `select x from ${nested(30, (e) => `(select x + x as y from ${e}) q (x)`, '(select 1) q (x)')}`,
    ],
    [
      'columns of a CTE with other names',
      `with c0 (x) as (select 1), ${steps(30, (i) => `c${i + 1} (x) as (select x + x from c${i})`)} select x from c30`,
    ],
    [
      'columns behind *',
      `select x from ${nested(30, (e) => `(select *, 1 from (select x + x as x from ${e}) p) q`, '(select 1 as x) q')}`,
    ],
    [
      'columns of UNION ALL',
      `select x from ${nested(30, (e) => `(select x + x as x from ${e} union all select 1) q`, '(select 1 as x) q')}`,
    ],
    [
      'columns of a FULL JOIN',
      `select x from ${nested(30, (e) => `(select x + x as x from ${e} full join (select 1 as x) p using (x)) q`, '(select 1 as x) q')}`,
    ],
    [
      'columns that no name was given',
      `select "?column?" from ${nested(30, (e) => `(select "?column?" + "?column?" from ${e}) q`, '(select 1 + 1) q')}`,
    ],
    [
      'columns called after a function',
      `select lower from ${nested(30, (e) => `(select lower(lower || lower) from ${e}) q`, `(select lower('x')) q`)}`,
    ],
    [
      'EXISTS in EXISTS',
      `select ${nested(30, (e) => `exists (select 1 from flights f where f.id = g.id and ${e})`, 'true')} from flights g`,
    ],
    ['the query of a JSON_ARRAY', `select ${nested(30, (e) => `json_array(select ${e})`, '1')}`],
    [
      'columns of a row that is written out',
      `select (row(${Array(1_000).fill('x').join(', ')})).* from flights`,
    ],
    [
      'columns of a CTE that nobody names',
      `with c as (select ${nested(60, (e) => `(${e} between 0 and 2)::int`, '1')} as x) select 1`,
    ],
  ])('counts what is copied of %s', (_, sql) => {
    expect(size(sql)).toBeGreaterThan(MAX_EXPANDED_SIZE);
  });

  it('leaves a CTE that names itself to be computed once', () => {
    const hierarchy = `with recursive t (n, path) as (select 1, 'a' union all select n + 1, path || n from t where n < 10)`;
    expect(size(`${hierarchy} select a.path || b.path from t a, t b where a.n = b.n`)).toBeLessThan(1_000);
  });

  it('multiplies conditions by the arms of UNION ALL', () => {
    const arms = Array(150).fill('select lat from waypoints').join(' union all ');
    expect(size(`select * from (${arms}) a, (${arms}) b where a.lat + 1 = 2`)).toBeGreaterThan(100_000);
  });

  it('cannot be determined if the nesting is deeper than this process can follow', () => {
    expect(size(`select ${'('.repeat(9_900)}1${')'.repeat(9_900)}`)).toBeLessThan(10);
    expect(size(`select ${'array['.repeat(2_800)}1${']'.repeat(2_800)}`)).toBe(Infinity);
    const withs = (times: number): string =>
      times === 0 ? 'select 1' : `with a as (${withs(times - 1)}) select * from a`;
    expect(size(withs(10))).toBeLessThan(1_000);
    expect(size(withs(50))).toBeLessThan(20_000);
    // And the parser continues to work.
    expect(size('select 1')).toBeLessThan(10);
  });

  it('is determined for exactly one statement', () => {
    expect(() => size('select 1; select 2')).toThrow(SyntaxFault);
    expect(() => size('select from where')).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/syntax error/), position: 13 }) as Error,
    );
  });
});
