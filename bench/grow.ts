import pg from 'pg';
import { CreateFlight } from '#lib/flight';
import { migrate } from '../migrations/index.js';
import { sql, urlOf, type Bench } from './bench.js';
import { readable, secondsOf } from './measure.js';
import { flight } from './samples.js';
import { RunningContexts } from '#lib/waylog';

/** Flights that were in the air at the same time: their events are interleaved in the log. */
const SIDE_BY_SIDE = 100;
const WAYPOINTS = 10;

/**
 * A database with `flights` flights of `eventsEach` events, log and tables, on the server of the benchmarks. It is
 * created once and then kept: the flights by commands, their frames and headings by one INSERT for every hundred
 * flights (commands would take a quarter of an hour for ten million), and all tables by the projector.
 */
export async function grownDatabase(bench: Bench, flights: number, eventsEach: number): Promise<string> {
  const name = `waylog_grown_${flights}_${eventsEach}`;
  const url = urlOf(bench.serverUrl, name);
  if (await isComplete(bench.serverUrl, name)) return url;
  bench.say(`making ${readable(flights * eventsEach)} events in ${readable(flights)} flights, once`);
  await sql(bench.serverUrl, `drop database if exists ${name} with (force)`);
  await sql(bench.serverUrl, `create database ${name}`);
  await migrate(url);

  const created = await bench.waylog(url, { projector: false });
  const ids = Array.from({ length: flights }, (_, n) => `grown-${n}`);
  await Promise.all(ids.map((id) => created.execute(new CreateFlight({ flight: flight(id, WAYPOINTS) }))));
  await created.close();

  const client = new pg.Client({ connectionString: url });
  await client.connect();
  // If a crash loses it, the database is created again.
  await client.query('set synchronous_commit = off');
  const seconds = await secondsOf(async () => {
    for (let first = 0; first < flights; first += SIDE_BY_SIDE) {
      await client.query(recordedSql, [first, first + SIDE_BY_SIDE, eventsEach]);
      bench.say(`  ${readable(Math.min(first + SIDE_BY_SIDE, flights) * eventsEach)} events recorded`);
    }
  });
  await client.query('vacuum analyze log.events');
  await client.end();
  bench.say(`recorded in ${readable(seconds)} s; folding them into the tables`);

  const folding = await bench.waylog(url);
  const head = await folding.store.head();
  const folded = await secondsOf(() => folding.app.get(RunningContexts).waitFor(head, 3_600_000));
  await folding.close();
  await sql(url, 'vacuum analyze');
  await sql(bench.serverUrl, `comment on database ${name} is '${COMPLETE}'`);
  bench.say(`folded in ${readable(folded)} s, ${readable(Number(head) / folded)} events/s`);
  return url;
}

const COMPLETE = 'complete';

async function isComplete(serverUrl: string, name: string): Promise<boolean> {
  const [row] = await sql<{ comment: string | null }>(
    serverUrl,
    `select shobj_description(oid, 'pg_database') as comment from pg_database where datname = '${name}'`,
  );
  if (row?.comment !== COMPLETE) return false;
  // Created by an older Waylog: its functions are not those to measure.
  return (await migrate(urlOf(serverUrl, name))).length === 0;
}

/**
 * Frames and headings of the flights from $1 up to $2, until each has $3 events. One day per flight, one frame per half
 * second.
 */
const recordedSql = `
  with heads as (
    select s.stream_key, substring(s.stream_id from '[0-9]+$')::integer as number,
           last.revision, last.hash
      from log.streams s
      cross join lateral (select e.revision, e.hash from log.events e
                           where e.stream_key = s.stream_key order by e.revision desc limit 1) as last
     where substring(s.stream_id from '[0-9]+$')::integer >= $1 and substring(s.stream_id from '[0-9]+$')::integer < $2
  ), facts as (
    select h.stream_key, h.number, h.hash, h.revision + 1 + k.k as revision, k.k / 2 as frame, k.k % 2 = 0 as is_frame,
           timestamptz '2025-01-01Z' + h.number * interval '12 hours' + k.k / 2 * interval '500 ms' as at
      from heads h cross join generate_series(0, $3 - 1) as k (k)
     where h.revision + 1 + k.k < $3
  ), texts as (
    select *, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at_text from facts
  ), events as (
    select (select max(position) from log.events) + row_number() over (order by revision, stream_key) as position,
           stream_key, revision, gen_random_uuid() as id, at, hash as before,
           case when is_frame then 'FrameResultSaved' else 'HeadingSaved' end as type,
           case when is_frame
                then format('{"frameId":%s,"gpsCenter":{"lat":%s,"lon":10.4123},"altitude":120.5,"heading":%s,"confidence":0.75,"refined":false,"timestamp":"%s","updatedAt":"%s"}',
                            frame, 63.4 + (frame % 1000) / 10000.0, frame % 360, at_text, at_text)
                else format('{"frameId":%s,"heading":%s,"timestamp":"%s"}', frame, frame % 360, at_text) end as data,
           '{"command":"SaveFrameResult","actor":"bench"}' as metadata
      from texts
  )
  insert into log.events (position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata, hash)
  select position, stream_key, revision, id, type, 1, at, data::json, metadata::json,
         log.chain(before, log.canonical(position, revision, id, type, 1, (extract(epoch from at) * 1000000)::bigint, metadata, data))
           over (partition by stream_key order by revision rows unbounded preceding)
    from events`;
