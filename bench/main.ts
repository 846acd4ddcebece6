import 'reflect-metadata';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { NestFactory } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import pg from 'pg';
import { FlightDatabase, WaylogModule } from '#lib/flight';
import { migrate } from '../migrations/index.js';
import type { Bench } from './bench.js';
import { hundredFlights } from './hundred-flights.js';
import { median, type Figure } from './measure.js';
import { referenceFigures } from './reference-figures.js';

const benchmarks: Record<string, (bench: Bench) => Promise<Figure[]>> = {
  'hundred-flights': hundredFlights,
  'reference-figures': referenceFigures,
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in benchmarks));
if (unknown.length > 0) {
  console.error(
    `There is no benchmark ${unknown.join(', ')}. There are ${Object.keys(benchmarks).join(', ')}.`,
  );
  process.exit(2);
}

const all: Figure[] = [];
let server: object = {};
for (const [name, benchmark] of Object.entries(benchmarks)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.error(`${name} ...`);
  const { figures, about } = await run(benchmark);
  all.push(...figures);
  server = about;
}
const report = {
  at: new Date().toISOString(),
  cores: cpus().length,
  node: process.version,
  server,
  figures: all,
};
const table = markdown(report.figures);
mkdirSync('bench/results', { recursive: true });
writeFileSync('bench/results/latest.json', JSON.stringify(report, null, 2));
writeFileSync(
  'bench/results/latest.md',
  `${table}\n\n${cpus().length} cores, Node ${process.version}, ${JSON.stringify(server)}\n`,
);
console.log(table);

async function run(
  benchmark: (bench: Bench) => Promise<Figure[]>,
): Promise<{ figures: Figure[]; about: object }> {
  const { url, drop } = await freshDatabase();
  await migrate(url);
  const app = await NestFactory.createApplicationContext(WaylogModule.forRoot({ databaseUrl: url }), {
    logger: ['error', 'warn'],
  });
  try {
    const commands = app.get(CommandBus);
    const pool = app.get(pg.Pool);
    const { rows } = await pool.query<object>(
      `select name, setting from pg_settings where name in ('server_version', 'fsync', 'synchronous_commit', 'shared_buffers')`,
    );
    const bench: Bench = {
      execute: (command) => commands.execute(command),
      database: app.get(FlightDatabase),
      pool,
      rounds: 3,
      say: (line) => console.error(`  ${line}`),
    };
    return { figures: await benchmark(bench), about: rows };
  } finally {
    await app.close();
    await drop();
  }
}

async function freshDatabase() {
  const server = process.env['WAYLOG_BENCH_DATABASE_URL'];
  if (!server)
    throw new Error('WAYLOG_BENCH_DATABASE_URL is not set. Run `npm run bench`, which starts a database.');
  const name = `waylog_bench_${Date.now().toString(36)}`;
  const sql = async (text: string) => {
    const client = new pg.Client({ connectionString: server });
    await client.connect();
    await client.query(text);
    await client.end();
  };
  await sql(`create database ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => sql(`drop database ${name} with (force)`) };
}

function markdown(figures: readonly Figure[]): string {
  const number = (value: number, unit: string) =>
    unit === '/s' ? Math.round(value).toLocaleString('en') : value.toFixed(2);
  return [
    '| figure | median | rounds | wanted |',
    '|---|---|---|---|',
    ...figures.map(
      ({ name, unit, rounds, wanted: goal = '' }) =>
        `| ${name} | ${number(median(rounds), unit)} ${unit} | ${rounds.map((value) => number(value, unit)).join(', ')} | ${goal} |`,
    ),
  ].join('\n');
}
