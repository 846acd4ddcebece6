import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { runBenchmark } from './bench.js';
import { PACE, soak, type SoakResult } from './soak.js';

// `npm run soak`: whether a server keeps growing under a steady load.

const { values: options } = parseArgs({
  options: { help: { type: 'boolean', short: 'h' }, minutes: { type: 'string', default: '5' } },
});
const minutes = Number(options.minutes);
if (options.help || !(minutes > 0)) {
  console.error(
    [
      'npm run soak -- [--minutes N]',
      '',
      `Loads a server at a steady pace (${PACE.operations * 100} operations a second of 100 flights, 17 of 20 are commands) for N`,
      'minutes (5), looks at its memory, handles, sessions and lag, and prints a table. Ends with 1 when anything grows',
      'beyond its bound in the second half.',
    ].join('\n'),
  );
  process.exit(options.help ? 0 : 2);
}
const serverUrl = process.env['WAYLOG_BENCH_DATABASE_URL'];
if (!serverUrl) {
  console.error('WAYLOG_BENCH_DATABASE_URL is not set. Run `npm run soak`, which starts a database.');
  process.exit(2);
}

let result: SoakResult | undefined;
await runBenchmark(
  {
    about: 'soak',
    run: async (bench) => {
      result = await soak(bench, minutes);
      return [];
    },
  },
  { serverUrl, rounds: 1, seconds: 1, say: (line) => console.error(`  ${line}`) },
);
if (!result) throw new Error('The soak ended without a result.');
const rows = [
  ['', 'first fifth', 'last fifth', 'trend', 'bound', ''],
  ...result.lines.map(({ what, first, last, found, bound, isMet }) => [
    ...[what, first, last, found, bound, isMet === undefined ? '' : isMet ? 'met' : '**exceeded**'],
  ]),
];
const widths = rows[0]?.map((_, i) => Math.max(3, ...rows.map((row) => row[i]?.length ?? 0))) ?? [];
const line = (cells: readonly string[]) =>
  `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
console.log(
  [
    `${minutes} minutes on ${new Date().toISOString().slice(0, 10)}, ${result.operations.toLocaleString('en')} operations, ${cpus().length} hardware threads, Node ${process.versions.node}.`,
    '',
    line(rows[0] ?? []),
    line(widths.map((width) => '-'.repeat(width))),
    ...rows.slice(1).map(line),
    '',
    result.isMet ? 'flat' : 'NOT FLAT',
  ].join('\n'),
);
process.exit(result.isMet ? 0 : 1);
