import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { Benchmark } from './bench.js';
import { sql } from './bench.js';
import { inTurn, type Figure } from './measure.js';

/**
 * Ways of numbering events so that readers who go by the number miss none. Each has a table like log.events and a
 * function that inserts one event into each of some streams:
 *
 * - `advisory_lock`: Waylog's way. A lock until the end of the transaction, then the largest number plus one.
 * - `counter_row`: a row that holds the last number; its row lock does the same, and every append leaves a dead row.
 * - `table_lock`: the same with a lock on the table.
 * - `transaction_id`: numbers from a sequence without any lock; each event also stores its transaction's id, and
 *   readers stop before the oldest transaction that is still open, which any long transaction of the server delays.
 * - `sequence`: numbers from a sequence and nothing else. Readers can miss events; included only to show the cost of
 *   the order.
 */
const strategies = {
  advisory_lock: `perform pg_advisory_xact_lock(1); select coalesce(max(position), 0) into head from TABLE;`,
  counter_row: `update ordering.counter set head = counter.head + cardinality(p_keys)
                returning counter.head - cardinality(p_keys) into head;`,
  table_lock: `lock table TABLE in exclusive mode; select coalesce(max(position), 0) into head from TABLE;`,
  transaction_id: '',
  sequence: '',
} as const;
type Strategy = keyof typeof strategies;

const PROCESSES = [1, 2, 4, 8];
/** Concurrent appends of a process, as with Waylog's group commit, and the number of streams in each. */
const IN_FLIGHT = 2;
const STREAMS = 32;

export const ordering: Benchmark = {
  about: `ways of numbering events under 1, 2, 4 and 8 server processes, each with ${IN_FLIGHT} appends of ${STREAMS} events on their way`,
  run: async (bench) => {
    const url = await bench.database();
    await sql(url, schema());
    let firstStream = 0;
    const measure = (strategy: Strategy, processes: number) => async () => {
      const workers = Array.from({ length: processes }, () => {
        const worker = fork(new URL('ordering-process.js', import.meta.url), [
          url,
          strategy,
          String(firstStream),
          String(STREAMS),
          String(IN_FLIGHT),
        ]);
        firstStream += IN_FLIGHT * STREAMS;
        return worker;
      });
      await Promise.all(workers.map((worker) => once(worker, 'message')));
      const results = workers.map((worker) => once(worker, 'message') as Promise<[number]>);
      for (const worker of workers) worker.send(bench.seconds / 2);
      const rates = await Promise.all(results);
      return rates.reduce((sum, [perSecond]) => sum + perSecond, 0);
    };
    const systems = PROCESSES.flatMap((processes) =>
      (Object.keys(strategies) as Strategy[]).map((strategy) => [
        `${strategy}, ${processes} ${processes === 1 ? 'process' : 'processes'}`,
        measure(strategy, processes),
      ]),
    );
    const figures = await inTurn(
      bench.rounds,
      Object.fromEntries(systems) as Record<string, () => Promise<number>>,
      bench.say,
    );
    return Object.entries(figures).map(([name, rounds]): Figure => ({ name, unit: '/s', rounds }));
  },
};

function schema(): string {
  const parts = [
    'create schema ordering',
    'create table ordering.counter (head bigint not null)',
    'insert into ordering.counter values (0)',
  ];
  for (const [name, lock] of Object.entries(strategies)) {
    const table = `ordering.${name}_events`;
    parts.push(`create table ${table} (like log.events including all)`);
    if (name === 'sequence' || name === 'transaction_id') parts.push(`create sequence ${table}_position`);
    if (name === 'transaction_id') {
      parts.push(`alter table ${table} add transaction_id xid8 not null default pg_current_xact_id()`);
      parts.push(`create index on ${table} (transaction_id, position)`);
    }
    const position =
      name === 'sequence' || name === 'transaction_id' ? `nextval('${table}_position')` : 'head + i.n';
    parts.push(`
      create function ordering.${name}(p_keys bigint[], p_revisions integer[], p_ids uuid[], p_data text) returns void
      language plpgsql as $$
      declare head bigint;
      begin
        ${lock.replaceAll('TABLE', table)}
        insert into ${table} (position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata)
        select ${position}, i.key, i.revision, i.id, 'FrameResultSaved', 1, clock_timestamp(), i.data::json, '{}'
          from rows from (unnest(p_keys), unnest(p_revisions), unnest(p_ids), string_to_table(p_data, E'\\n'))
               with ordinality as i (key, revision, id, data, n);
      end $$`);
  }
  return parts.join(';\n');
}
