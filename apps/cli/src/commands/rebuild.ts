import { counted } from '#lib/platform';
import { Command } from 'commander';
import type pg from 'pg';
import type { EventStore } from '#lib/event-store';
import { EVENT_STORE, TABLES_POOL, tablesOf, contextOf, rebuildTables } from '#lib/waylog';
import { discardRebuild, type FailedEvent, type RebuildResult, type RebuiltTable } from '#lib/projections';
import { retainedSince } from '#lib/timescale';
import {
  print,
  progress,
  projectionsNamed,
  untilInterrupted,
  withOperations,
  shownName,
  whichTables,
} from '../context.js';
import { withProgress } from '../progress-bar.js';
import { unfoldableLine } from './verify.js';
import { contexts } from '../../../contexts.js';

export function rebuildCommand(): Command {
  return new Command('rebuild')
    .description(
      'Rebuild tables from the log beside the live ones, then swap them in. Reads and writes go on meanwhile.',
    )
    .argument('[projections...]', whichTables())
    .option('--discard', 'clear away what a rebuild that was cut off has made, instead of going on with it')
    .addHelpText(
      'after',
      `
The log is read once for all the tables that are named. A rebuild that is interrupted (Ctrl-C, a kill, a crash) leaves the
live tables as they were; the same command goes on where it stopped. The tables take their places together, in one
transaction, at exactly the position to which the projector has come: no reader sees a gap.

A stream with an event that cannot be folded is parked from there on (\`waylog parked --help\`), named, and all others are
made; the exit code is 1 then. Where more than 100 cannot, nothing is changed: then it is the fold that is wrong.

Examples
  waylog rebuild                        all tables
  waylog rebuild waypoints geofences    two of them
  waylog rebuild waypoints --discard    give up one that was cut off`,
    )
    .action(async (wanted: string[], { discard }: { discard?: boolean }, command: Command) => {
      const tables = projectionsNamed(wanted);
      await withOperations(command, async (app, connectionString) => {
        const log = app.get<EventStore>(EVENT_STORE);
        if (discard) {
          for (const { context, projections } of tables)
            await discardRebuild({ ...tablesOf(context, log), projections, connectionString });
          const discarded = tables.flatMap(({ projections }) => projections.map(({ name }) => name));
          print(command, { discarded }, 'cleared away');
          return;
        }
        const result = await untilInterrupted((signal) =>
          withProgress('rebuilding', 1, async (update) =>
            rebuildTables(tables, log, {
              connectionString,
              retainedSince: await retainedSince(app.get<pg.Pool>(TABLES_POOL)),
              signal,
              onProgress: (events, total) => update(events, total),
            }),
          ),
        );
        if (result.resumedFrom > 0)
          progress(`went on after the ${counted(result.resumedFrom, 'event')} of a rebuild that was cut off`);
        print(command, result, linesOf(result).join('\n'));
        if (result.parked.length > 0) process.exitCode = 1;
      });
    });
}

/** The findings of a rebuild, for people. */
function linesOf({ tables, events, parked }: RebuildResult): string[] {
  // The reason is known for parked streams.
  const known = new Set(parked.map(({ streamId }) => idIn(streamId)));
  const differ = tables.some(({ differences }) => differences.some(({ key }) => !known.has(key)));
  return [
    ...tables.flatMap((table) => tableLines(table, events)),
    ...parkedLines(parked),
    ...(differ
      ? [
          'What differed was written past the log, or by another version of the fold. The new tables are what the log says: nothing is ' +
            'left to mend. Where the fold is the same, find out who writes to the tables: nobody but the projector should be able to.',
        ]
      : []),
  ];
}

/** The value of the first key column of a stream's rows. */
function idIn(streamId: string): string {
  const stream = contextOf(contexts, streamId)?.streams.find(({ category }) => category.includes(streamId));
  return stream?.category.idOf(streamId) ?? streamId;
}

/** Streams that were parked because one of their events could not be folded, for people. */
export const parkedLines = (parked: readonly FailedEvent[]): string[] =>
  parked.map(
    (event) =>
      `PARKED · ${unfoldableLine(event)}. The new tables hold it up to there: \`waylog parked retry\` once that is mended, or \`discard\`.`,
  );

const SHOWN = 10;

function tableLines(table: RebuiltTable, events: number) {
  const { rows, since, broughtBack, differences } = table;
  const bound = since ? ` since ${since}` : '';
  const verdict = table.hasOtherColumns
    ? 'has other columns now'
    : differences.length === 0
      ? `identical${bound}`
      : `${differences.length} streams were DIFFERENT from the log${bound}`;
  return [
    `${shownName(table).padEnd(15)} replaced · ${counted(events, 'event')} · ${counted(rows, 'row')} · ${verdict}`,
    ...differences.slice(0, SHOWN).map((difference) => `  ${differenceText(difference)}`),
    ...(differences.length > SHOWN ? [`  and ${differences.length - SHOWN} more (--json names all)`] : []),
    ...(broughtBack > 0
      ? [
          `  ${counted(broughtBack, 'row')} from before ${since ?? ''} are back, which had been dropped on purpose. The retention drops them ` +
            'again when it next runs (`waylog hypertables apply-retention`); what was dropped by hand or archived stays until you drop it again.',
        ]
      : []),
  ];
}

function differenceText(difference: RebuiltTable['differences'][number]): string {
  const { key, rowsFound, rowsExpected } = difference;
  if (!('examples' in difference))
    return `${key}: ${counted(rowsFound, 'row')} found, ${rowsExpected} expected`;
  const { missing, surplus, changed, examples } = difference;
  const counts = [
    [missing, 'missing'],
    [surplus, 'too many'],
    [changed, 'with other values'],
  ] as const;
  const what = counts.flatMap(([n, text]) => (n > 0 ? [`${counted(n, 'row')} ${text}`] : [])).join(', ');
  return `${key}: ${what}${examples.length > 0 ? `, such as ${examples.join('; ')}` : ''}`;
}
