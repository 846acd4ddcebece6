import type { RunResult } from './run-scenario.js';
import type { Scenario } from './scenarios.js';

/** One line of the report: all runs of a scenario together. */
interface Line {
  readonly about: string;
  readonly runs: readonly RunResult[];
}

const begin = '<!-- the run: begin -->';
const end = '<!-- the run: end -->';

/** Puts the report between its marks in a page; a file without marks becomes the report. */
export function withReport(page: string, report: string): string {
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < 0) return report;
  return `${page.slice(0, from + begin.length)}\n\n${report}\n${page.slice(to)}`;
}

/** The report of a suite as Markdown. */
export function reportOf(
  results: readonly RunResult[],
  scenarios: readonly Scenario[],
  skipped: ReadonlyMap<string, string>,
  facts: { readonly seconds: number; readonly machine: string; readonly at: Date },
): string {
  const lines: Line[] = scenarios
    .map(({ name, about }) => ({ about, runs: results.filter(({ scenario }) => scenario === name) }))
    .filter(({ runs }) => runs.length > 0);
  const reads = sum(results, (r) => r.reads);
  const register = sum(results, (r) => r.registerOperations);
  const notLinearizable = results.filter((r) => !r.isLinearizable).length;
  const seeds = [...new Set(results.map((r) => r.seed))].join(', ');
  return [
    `Taken on ${facts.at.toISOString().slice(0, 10)}, ${facts.seconds} s of load and faults a run, on ${facts.machine}, server, database, clients and checkers on the same machine; seeds ${seeds}.`,
    '',
    ...table([
      [
        ...[
          'what was broken',
          'times',
          'acknowledged',
          'of unknown outcome',
          'lost',
          'doubled',
          'out of order',
        ],
        ...['stale reads', 'wrong rows', '500s', 'acknowledges again after', 'tables caught up after'],
      ],
      ...lines.map((line) => row(line)),
      row({ about: '**all**', runs: results }, true),
    ]),
    '',
    `Beside them ${number(sum(results, (r) => r.refused))} commands were refused as they had to be, ${number(reads)} reads were held against the log, and ${number(register)} operations on the register were searched for an order: ${notLinearizable === 0 ? 'every history is linearisable' : `**${notLinearizable} histories are not linearisable**`}. Of the answers ${number(sum(results, (r) => r.answers['503'] ?? 0))} were 503 with Retry-After, and ${number(sum(results, (r) => r.answers['no answer'] ?? 0))} attempts had none. Asked to end, a server took ${seconds(Math.max(...results.flatMap((r) => r.stops), 0))} s at most.`,
    '',
    'Times are the median and, behind the slash, the longest, in seconds: from the end of the fault (for a SIGKILL, from the kill) to the first command that was sent after it and acknowledged, and until that command was in the tables.',
    ...[...skipped].map(([name, reason]) => `\nNot run: ${name}, for ${reason}.`),
    '',
  ].join('\n');
}

function row({ about, runs }: Line, isTotal = false): string[] {
  const found = (kinds: readonly (keyof RunResult['verdict'])[]) =>
    zero(sum(runs, ({ verdict }) => kinds.reduce((n, kind) => n + verdict[kind].length, 0)));
  const recoveries = runs.flatMap((r) => r.recoveries);
  const times = (of: 'toAcknowledge' | 'toTables') => {
    const known = recoveries.map((r) => r[of]).filter((ms) => ms !== undefined);
    if (isTotal || known.length === 0) return '';
    const sorted = [...known].sort((a, b) => a - b);
    return `${seconds(sorted[sorted.length >> 1] ?? 0)} / ${seconds(sorted.at(-1) ?? 0)}`;
  };
  return [
    about,
    number(sum(runs, (r) => r.faults)),
    number(sum(runs, (r) => r.acknowledged)),
    number(sum(runs, (r) => r.unknown)),
    found(['lost']),
    found(['doubled', 'uninvited']),
    found(['disorder', 'misplaced', 'gaps']),
    found(['stale']),
    found(['wrongRows', 'complaints']),
    zero(sum(runs, (r) => sum(Object.entries(r.answers), ([status, n]) => (isFailure(status) ? n : 0)))),
    times('toAcknowledge'),
    times('toTables'),
  ];
}

const isFailure = (status: string): boolean => /^5\d\d$/.test(status) && status !== '503';

const sum = <T>(of: readonly T[], value: (item: T) => number): number =>
  of.reduce((total, item) => total + value(item), 0);
const number = (n: number): string => n.toLocaleString('en');
const zero = (n: number): string => (n === 0 ? '0' : `**${number(n)}**`);
const seconds = (ms: number): string => (ms / 1_000).toFixed(ms < 10_000 ? 2 : 0);

/** As Prettier writes it, so that the page stays as it is checked in. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(3, ...rows.map((cells) => (cells[column] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = rows;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)];
}
