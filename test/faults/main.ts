import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { databaseDown, type DatabaseOptions } from '#lib/timescale';
import { reportOf, withReport } from './report.js';
import { runScenario, type RunResult } from './run-scenario.js';
import { scenarios } from './scenarios.js';

// The long form of the fault suite: `npm run test:faults`.

const { values: options } = parseArgs({
  options: {
    help: { type: 'boolean', short: 'h' },
    scenario: { type: 'string', multiple: true },
    seconds: { type: 'string', default: '30' },
    repeat: { type: 'string', default: '2' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    report: { type: 'string' },
    keep: { type: 'boolean' },
  },
});
const unknown = (options.scenario ?? []).filter((name) => !scenarios.some((s) => s.name === name));
const numbers = [options.seconds, options.repeat, options.seed];
if (options.help || unknown.length > 0 || numbers.some((text) => !/^\d+$/.test(text))) {
  for (const name of unknown) console.error(`There is no scenario ${name}.\n`);
  console.error(help());
  process.exit(options.help ? 0 : 2);
}

const { DATABASE_URL: _, ...env } = process.env;
const instance: DatabaseOptions = { root: process.cwd(), instance: 'fault-runs', env };
const say = (line: string) => console.error(line);
const wanted = scenarios.filter(({ name }) => !options.scenario || options.scenario.includes(name));
const skipped = new Map<string, string>();
const results: RunResult[] = [];
for (let round = 0; round < Number(options.repeat); round++) {
  for (const scenario of wanted) {
    const reason = await scenario.unavailable?.(instance);
    if (reason !== undefined) {
      if (!skipped.has(scenario.name)) say(`${scenario.name}: not run, for ${reason}`);
      skipped.set(scenario.name, reason);
      continue;
    }
    const seed = Number(options.seed) + round;
    const seconds = Math.max(Number(options.seconds), scenario.leastSeconds ?? 0);
    const result = await runScenario({ scenario, seconds, seed, instance, say, keep: options.keep ?? false });
    results.push(result);
    say(
      `${scenario.name}, seed ${seed}: ${result.faults} faults, ${result.acknowledged} acknowledged, ${result.unknown} of ` +
        `unknown outcome; ${result.isClean ? 'clean' : 'NOT CLEAN'}`,
    );
    for (const [kind, found] of Object.entries(result.verdict) as [string, readonly string[]][])
      for (const what of found.slice(0, 5)) say(`  ${kind}: ${what}`);
    for (const what of result.trouble.slice(0, 5)) say(`  ${what}`);
  }
}
await databaseDown(instance);
const machine = `a machine with ${cpus().length} hardware threads, Node ${process.versions.node}`;
const report = reportOf(results, scenarios, skipped, {
  seconds: Number(options.seconds),
  machine,
  at: new Date(),
});
if (options.report !== undefined) {
  const page = existsSync(options.report) ? readFileSync(options.report, 'utf8') : '';
  writeFileSync(options.report, withReport(page, report));
  say(`Written to ${options.report}`);
} else {
  console.log(report);
}
const clean = results.filter(({ isClean }) => isClean).length;
console.log(`${clean} clean, ${results.length - clean} not clean, ${skipped.size} skipped`);
process.exit(clean === results.length ? 0 : 1);

function help(): string {
  return [
    'npm run test:faults -- [--scenario NAME ...] [--seconds N] [--repeat N] [--seed N] [--report FILE] [--keep]',
    '',
    'Drives load through the HTTP API while it breaks something, and then compares what clients were told with the log and',
    'the tables. The database server is one of its own. Ends with 0 when every run was clean, with 1 otherwise.',
    '',
    ...scenarios.map(({ name, about }) => `  ${name.padEnd(24)} ${about}`),
    '',
    '  --scenario NAME   only this one; may be given several times',
    '  --seconds N       how long load and faults go on in a run (30; silence takes longer to be told from slowness)',
    '  --repeat N        how often each is run, each time with the next seed (2)',
    '  --seed N          of all random choices; printed with each run',
    '  --report FILE     writes the table into FILE, between its marks when it has them',
    '  --keep            keeps the histories of clean runs, too',
    '',
    'Histories, and what the servers said, are kept in .waylog/faults/ when a run is not clean.',
  ].join('\n');
}
