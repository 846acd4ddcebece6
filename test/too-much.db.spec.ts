import type pg from 'pg';
import {
  CreateFlight,
  SaveFrameResult,
  SaveFrameResults,
  SaveHeading,
  SaveHeadings,
  Transact,
  flight,
  flightProjections,
} from '#lib/flight';
import { EVENT_STORE, TABLES_POOL, tablesOf } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { parkedStreams, rebuild, unpark } from '#lib/projections';
import { testDatabase, type TestDatabase } from './support/database.js';
import { aFlight, aFrame } from './support/samples.js';
import { flightOf, startWaylog, type RunningWaylog } from './support/waylog.js';

// Limits that a transaction can hit and a smaller one may not: time, memory, locks, TimescaleDB's limit of tuples.
describe('times that are spread over centuries', () => {
  let database: TestDatabase;
  let waylog: RunningWaylog;
  beforeAll(async () => {
    database = await testDatabase();
    waylog = await startWaylog(database, { settings: { flight: { days: 7 } } });
    await waylog.execute(new CreateFlight({ flight: aFlight('a') }));
  });
  const others: RunningWaylog[] = [];
  afterAll(async () => {
    for (const other of others) await other.close();
    await waylog.close();
    await database.drop();
  });
  const week = (n: number) => new Date(n * 7 * 86_400_000).toISOString();
  const refusal = { code: 'flight.too-many-days', kind: 'conflict', data: { most: 7 } };
  const frames = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => aFrame(from + i, { timestamp: week(from + i) }));
  const save = (...given: ReturnType<typeof frames>) =>
    waylog.execute(new SaveFrameResults({ flightId: 'a', frames: given }));

  it('are refused at the start, in one request and in many, frames and headings together, and nothing is recorded', async () => {
    await expect(save(...frames(0, 5_000))).rejects.toMatchObject({ ...refusal, data: { days: 5_000 } });
    await save(...frames(0, 5));
    await waylog.execute(
      new SaveHeadings({
        flightId: 'a',
        headings: [10, 11].map((n) => ({ frameId: n, heading: 1, timestamp: week(n) })),
      }),
    );
    await expect(save(...frames(5, 6))).rejects.toMatchObject(refusal);
    await expect(
      waylog.execute(
        new SaveHeading({ flightId: 'a', heading: { frameId: 3, heading: 1, timestamp: week(12) } }),
      ),
    ).rejects.toMatchObject(refusal);
    await expect(
      waylog.execute(
        new Transact({
          flightId: 'a',
          commands: [{ type: 'SaveFrameResult', frame: aFrame(9, { timestamp: week(9) }) }],
        }),
      ),
    ).rejects.toMatchObject(refusal);
    await expect(save(...frames(5, 6))).rejects.toThrow(
      /^Flight a would have frames and headings on 8 different days \(UTC\), 1970-02-05 among them; .*\(WAYLOG_FLIGHT_DAYS\)\. So far they are from 1970-01-01 to 1970-03-19\./,
    );
  });

  it('start with none when the flight is deleted and created again, also in one transaction', async () => {
    const flight = aFlight('again');
    await waylog.execute(new CreateFlight({ flight }));
    const headings = (from: number) =>
      Array.from({ length: 7 }, (_, n) => ({ frameId: n, heading: 1, timestamp: week(from + n) }));
    await waylog.execute(new SaveHeadings({ flightId: 'again', headings: headings(0) }));
    await waylog.execute(
      new Transact({
        flightId: 'again',
        commands: [
          { type: 'DeleteFlight' },
          { type: 'CreateFlight', flight },
          { type: 'SaveHeadings', headings: headings(10) },
        ],
      }),
    );
    await expect(
      waylog.execute(
        new SaveHeading({ flightId: 'again', heading: { frameId: 9, heading: 1, timestamp: week(20) } }),
      ),
    ).rejects.toMatchObject(refusal);
  });

  it('can jump within the limit, be written again on known days, and do not affect another flight', async () => {
    await save(aFrame(0, { timestamp: week(0), confidence: 0.1 }), aFrame(77, { timestamp: week(3) }));
    await waylog.execute(new CreateFlight({ flight: aFlight('b') }));
    const ages = [
      '1970-01-01T00:00:00.000Z',
      '1980-01-06T00:00:00.000Z',
      '2026-05-01T12:00:00.000Z',
      new Date(Date.now() + 300 * 86_400_000).toISOString(),
    ];
    await waylog.execute(
      new SaveFrameResults({ flightId: 'b', frames: ages.map((timestamp, n) => aFrame(n, { timestamp })) }),
    );
  });

  it('are refused outside of the window, in every command, and nothing is recorded', async () => {
    const outside = { code: 'flight.time-outside', kind: 'conflict', data: { firstYear: 2020 } };
    const narrow = await startWaylog(database, {
      settings: { flight: { times: { firstYear: 2020, daysAhead: 30 } } },
      projector: false,
    });
    others.push(narrow);
    await narrow.execute(new CreateFlight({ flight: aFlight('c') }));
    const ahead = new Date(Date.now() + 31 * 86_400_000).toISOString();
    const before = await narrow.app.get<EventStore>(EVENT_STORE).head();
    for (const timestamp of [
      '1970-01-01T00:00:00.000Z',
      '2019-12-31T23:59:59.999999Z',
      ahead,
      '2199-12-31T23:59:59.000Z',
    ]) {
      const frame = aFrame(1, { timestamp });
      const heading = { frameId: 1, heading: 1, timestamp };
      for (const command of [
        new SaveFrameResult({ flightId: 'c', frame }),
        new SaveFrameResults({ flightId: 'c', frames: [aFrame(0), frame] }),
        new SaveHeading({ flightId: 'c', heading }),
        new SaveHeadings({ flightId: 'c', headings: [heading] }),
        new Transact({ flightId: 'c', commands: [{ type: 'SaveFrameResult', frame }] }),
      ])
        await expect(narrow.execute(command)).rejects.toMatchObject(outside);
    }
    expect(await narrow.app.get<EventStore>(EVENT_STORE).head()).toBe(before);
    await narrow.execute(
      new SaveFrameResult({ flightId: 'c', frame: aFrame(1, { timestamp: '2020-01-01T00:00:00.000Z' }) }),
    );
    // By default a server accepts no time of the next century.
    await waylog.execute(new CreateFlight({ flight: aFlight('d') }));
    const late = aFrame(0, { timestamp: '2199-12-31T23:59:59.000Z' });
    await expect(waylog.execute(new SaveFrameResult({ flightId: 'd', frame: late }))).rejects.toMatchObject({
      code: 'flight.time-outside',
      message: expect.stringMatching(
        /from the year 1970 \(WAYLOG_FIRST_YEAR\) to .*\(366 days ahead/,
      ) as string,
    });
  });
});

describe.each(['57014', '53200', '53400'])('what is too much for the database (%s)', (state) => {
  let database: TestDatabase;
  let waylog: RunningWaylog;
  beforeEach(async () => {
    database = await testDatabase();
    waylog = await startWaylog(database);
    await Promise.all(['a', 'b', 'c'].map((id) => waylog.execute(new CreateFlight({ flight: aFlight(id) }))));
    await settled();
  });
  afterEach(async () => {
    await waylog.close();
    await database.drop();
  });
  const store = () => waylog.app.get<EventStore>(EVENT_STORE);
  const options = () => ({
    pool: waylog.app.get<pg.Pool>(TABLES_POOL),
    ...tablesOf(flight, store()),
    connectionString: database.url,
  });
  const settled = () => waylog.settled(120_000);
  const parked = () => parkedStreams(database.pool, flight.name);
  const save = (id: string, ...frames: number[]) =>
    waylog.execute(new SaveFrameResults({ flightId: id, frames: frames.map((n) => aFrame(n)) }));
  const count = async () =>
    (await database.pool.query<{ n: number }>('select count(*)::integer as n from flight.frame_results'))
      .rows[0]?.n;
  /** Rows of frames fail if the condition holds; `rows` are those of the transaction so far. */
  const failWhere = (condition: string) =>
    database.pool.query(`
      create or replace function public.too_much() returns trigger language plpgsql as $$
      declare rows integer := coalesce(nullif(current_setting('test.rows', true), ''), '0')::integer + 1;
      begin
        perform set_config('test.rows', rows::text, true);
        if ${condition} then raise exception 'too much' using errcode = '${state}'; end if;
        return new;
      end $$;
      create or replace trigger too_much before insert on flight.frame_results for each row execute function public.too_much();`);
  const mend = () => database.pool.query('drop trigger too_much on flight.frame_results');

  it('is folded in smaller batches, and no flight is parked', async () => {
    await flightOf(waylog.app).projector.stop();
    await failWhere('rows > 40');
    await save('a', ...Array.from({ length: 300 }, (_, n) => n));
    await save('b', ...Array.from({ length: 10 }, (_, n) => n));
    flightOf(waylog.app).projector.start();
    await settled();
    expect(await parked()).toEqual([]);
    expect(await count()).toBe(310);
  });

  it('is parked as a single event, once other events show that the database works, and can be resumed', async () => {
    await failWhere('new.frame_id = 666');
    await save('a', 1, 666, 2);
    await save('b', 1);
    await save('a', 3);
    await settled();
    expect(await parked()).toMatchObject([
      { streamId: 'flight-a', type: 'FrameResultSaved', error: 'too much' },
    ]);
    expect(await count()).toBe(2);
    await mend();
    expect(await unpark({ ...options(), streamId: 'flight-a' })).toMatchObject({ folded: 3 });
    expect(await parked()).toEqual([]);
    expect(await count()).toBe(5);
  });

  it('is parked also if no other flight has an event, after a while', async () => {
    await failWhere('new.frame_id = 666');
    await save('a', 666);
    await settled();
    expect(await parked()).toMatchObject([{ streamId: 'flight-a' }]);
  });

  it('parks no flight while nothing succeeds for any flight, and continues as soon as it does', async () => {
    await failWhere('true');
    await Promise.all([save('a', 1), save('b', 1), save('c', 1)]);
    const projector = flightOf(waylog.app).projector;
    const failures = new Set<string>();
    // Many more attempts than would park one.
    while (failures.size < 8) {
      if (projector.status.lastError) failures.add(projector.status.lastError.at);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(await parked()).toEqual([]);
    await mend();
    await settled();
    expect(await parked()).toEqual([]);
    expect(await count()).toBe(3);
  });

  it('does not end a rebuild that can continue in smaller steps, and ends one that cannot tell which event it is', async () => {
    await save('a', ...Array.from({ length: 200 }, (_, n) => n));
    await settled();
    // A table that is created like another one has no triggers of it; a check does as well.
    await database.pool.query(`
      create or replace function public.fits(frame_id integer) returns boolean language plpgsql volatile as $$
      declare rows integer := coalesce(nullif(current_setting('test.rows', true), ''), '0')::integer + 1;
      begin
        perform set_config('test.rows', rows::text, true);
        if rows > 50 or frame_id = 777 then raise exception 'too much' using errcode = '${state}'; end if;
        return true;
      end $$;
      grant execute on function public.fits(integer) to public;
      alter table flight.frame_results add constraint fits check (public.fits(frame_id)) not valid`);
    const [frames] = flightProjections.filter(({ name }) => name === 'frame_results');
    if (!frames) throw new Error('no such projection');
    const result = await rebuild({ ...options(), projections: [frames] });
    expect(result).toMatchObject({ tables: [{ identical: true }] });
    expect(await count()).toBe(200);

    await database.pool.query('alter table flight.frame_results drop constraint fits');
    await waylog.execute(new SaveFrameResult({ flightId: 'b', frame: aFrame(777) }));
    await settled();
    await database.pool.query(
      'alter table flight.frame_results add constraint fits check (public.fits(frame_id)) not valid',
    );
    await expect(rebuild({ ...options(), projections: [frames] })).rejects.toMatchObject({
      code: 'projection.unfoldable',
      message: expect.stringMatching(/FrameResultSaved at position \d+ \(flight-b, revision \d+\).*too much/),
    });
    await database.pool.query('alter table flight.frame_results drop constraint fits');
  });
});
