import 'reflect-metadata';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { runBenchmark, sql, type Benchmark } from './bench.js';
import { eventStoreBenchmark } from './event-store.js';
import { isMet, median, readable, type Figure, type Target } from './measure.js';
import { ordering } from './ordering.js';
import { p1 } from './p1-many-flights.js';
import { p2 } from './p2-one-flight.js';
import { p3 } from './p3-one-caller.js';
import { p4 } from './p4-bulk.js';
import { p5 } from './p5-projection.js';
import { p6 } from './p6-replay.js';
import { p7 } from './p7-rest.js';
import { p8 } from './p8-growth.js';
import { p9 } from './p9-memory.js';
import { referenceFigures } from './reference-figures.js';

const ofPostgres: Readonly<Record<string, Benchmark>> = {
  p1,
  p2,
  p3,
  p4,
  p5,
  p6,
  p7,
  p8,
  p9: p9(1),
  'p9-long': p9(10),
  ordering,
  'reference-figures': referenceFigures,
};

const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean', short: 'h' },
    long: { type: 'boolean' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    'event-store': { type: 'string' },
  },
});
const eventStore = options['event-store'];
const benchmarks = eventStore === undefined ? ofPostgres : { 'event-store': eventStoreBenchmark(eventStore) };
const unknown = wanted.filter((name) => !(name in benchmarks));
if (options.help || unknown.length > 0) {
  for (const name of unknown) console.error(`There is no benchmark ${name}.\n`);
  console.error(help());
  process.exit(unknown.length > 0 ? 2 : 0);
}
const serverUrl = process.env['WAYLOG_BENCH_DATABASE_URL'];
if (!serverUrl) {
  console.error('WAYLOG_BENCH_DATABASE_URL is not set. Run `npm run bench`, which starts a database.');
  process.exit(2);
}

const sections: { name: string; about: string; figures: Figure[] }[] = [];
const missed: Figure[] = [];
for (const [name, benchmark] of Object.entries(benchmarks)) {
  if (wanted.length > 0 ? !wanted.includes(name) : benchmark.long && !options.long) continue;
  console.error(`${name}: ${benchmark.about}`);
  const figures = await runBenchmark(benchmark, {
    serverUrl,
    rounds: Number(options.rounds),
    seconds: Number(options.seconds),
    say: (line) => console.error(`  ${line}`),
  });
  sections.push({ name, about: benchmark.about, figures });
  if (benchmark.isPromised) missed.push(...figures.filter((figure) => isMet(figure) === false));
}
const server = await sql<{ name: string; setting: string }>(
  serverUrl,
  `select name, setting from pg_settings
    where name in ('server_version', 'fsync', 'synchronous_commit', 'shared_buffers', 'full_page_writes')
   union all select 'timescaledb', default_version from pg_available_extensions where name = 'timescaledb'`,
);
const machine = {
  at: new Date().toISOString(),
  cores: cpus().length,
  processor: cpus()[0]?.model ?? 'unknown',
  node: process.version,
  ...Object.fromEntries(server.map(({ name, setting }) => [name, setting])),
};
const report = markdown();
mkdirSync('bench/results', { recursive: true });
const which = eventStore === undefined ? (options.long ? 'long' : 'all') : 'event-store';
const file = `bench/results/${wanted.length > 0 ? wanted.join('-') : which}`;
writeFileSync(`${file}.json`, JSON.stringify({ ...machine, sections }, null, 2));
writeFileSync(`${file}.md`, report);
console.log(report);
console.error(`Written to ${file}.md and ${file}.json`);
for (const { name, unit, rounds, target } of missed)
  console.error(`MISSED ${name}: ${readable(median(rounds))} ${unit}, promised ${targetOf(target)}`);
// Connections that a peer has left open must not keep the process alive.
process.exit(missed.length > 0 ? 1 : 0);

function targetOf(target: Target | undefined): string {
  if (!target) return '';
  return 'atLeast' in target ? `>= ${readable(target.atLeast)}` : `<= ${readable(target.atMost)}`;
}

function markdown(): string {
  const row = (figure: Figure) => {
    const { name, unit, rounds, target } = figure;
    const verdict = { true: 'met', false: '**gap**', undefined: '' }[String(isMet(figure))];
    return `| ${name} | ${readable(median(rounds))} ${unit} | ${rounds.map(readable).join(', ')} | ${targetOf(target)} | ${verdict} |`;
  };
  return [
    ...sections.flatMap(({ name, about, figures }) => [
      `### ${name}`,
      '',
      `${about}.`,
      '',
      '| figure | median | rounds | target | |',
      '|---|---|---|---|---|',
      ...figures.map(row),
      '',
    ]),
    Object.entries(machine)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
    '',
  ].join('\n');
}

function help(): string {
  return [
    'npm run bench -- [NAME ...] [--rounds N] [--seconds N] [--long]',
    '',
    'Measures Waylog and its peers in turn on one database server and prints medians; tables go to bench/results/.',
    'Without a name all but the long ones run. Ends with 1 when a figure that the contract of the flight database promises',
    '(reference-figures) is missed; the other targets are ours, and a gap is only shown.',
    '',
    ...Object.entries(benchmarks).map(
      ([name, { about, long }]) => `  ${name.padEnd(18)} ${about}${long ? ' (long)' : ''}`,
    ),
    '',
    '  --rounds N           how often each measurement is repeated, the systems in turn (3)',
    '  --seconds N          how long one measurement of a rate lasts (4)',
    '  --long               with the long ones',
    '  --event-store URL    instead of all these: the log on a server of EventStoreDB, where the streams of the run stay',
  ].join('\n');
}
