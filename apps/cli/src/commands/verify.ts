import { counted } from '#lib/platform';
import { Command } from 'commander';
import type pg from 'pg';
import type { EventStore } from '#lib/event-store';
import {
  EVENT_STORE,
  ReferencesInLog,
  RunningReactors,
  TABLES_POOL,
  verifyTables,
  vocabularyOf,
} from '#lib/waylog';
import { contexts } from '../../../contexts.js';
import {
  acceptedText,
  unfoldableText,
  type FailedEvent,
  type VerifiedTable,
  type VerifyResult,
} from '#lib/projections';
import { retainedSince } from '#lib/timescale';
import {
  operator,
  print,
  projectionsNamed,
  untilInterrupted,
  UsageError,
  withOperations,
  shownName,
  whichTables,
} from '../context.js';
import { DiskFileStore, verifyFiles } from '#lib/files';
import { withProgress } from '../progress-bar.js';
import { auditOptions, runAudit, type AuditFlags } from './audit.js';

export function verifyCommand(): Command {
  const verifying = new Command('verify')
    .description('Check the log, fold it beside the live tables, and compare them stream by stream.')
    .argument('[projections...]', whichTables())
    .option('--repair', 'rewrite the rows that differ, and nothing else, and write down that it was done');
  for (const option of auditOptions()) verifying.addOption(option);
  return verifying
    .addHelpText(
      'after',
      `
Checked are: positions and revisions without gaps, events without a stream, repeated ids; the projector's records of what
it has folded; and every row of every table, by hash. Reads and writes go on meanwhile. Parked streams are compared up to
where they are parked. Of reactors: whether their places, and the events that wait for them, are of this log, and whether
every deadline that has come was sent.

What differs is named by table and stream and kept (\`waylog integrity\`). A hole in the log cannot be repaired from
the log: restore a backup (\`waylog restore --help\`). Streams of which events are missing are named, and their rows are
neither compared nor repaired; all others are. What an operator has accepted as lost (\`waylog parked accept\`) is named, and is
no fault. In EventStoreDB named are also: events of other applications in Waylog's streams, streams that were deleted, and
limits in their metadata.

With --audit none of that is done. Instead the hash of every event is computed again from its row and compared, stream by
stream, and with each signed digest: what was changed, removed, inserted or reordered, by whomever, is named. Without digests
(\`waylog audit --help\`) it finds only changes whose hashes were not recomputed.

Exit codes: 0 all is as it should be (with --repair: now), 3 something differs, or the log is damaged.`,
    )
    .action(async (wanted: string[], options: VerifyFlags, command: Command) => {
      const { repair = false } = options;
      if (options.audit) {
        if (repair || wanted.length > 0)
          throw new UsageError('--audit looks at the log alone: it takes neither projections nor --repair.');
        return runAudit(options, command);
      }
      const tables = projectionsNamed(wanted);
      const { missingFiles, reactors, ...result } = await withOperations(command, (app, connectionString) =>
        untilInterrupted((signal) =>
          withProgress('verifying', 1, async (update) => {
            const store = app.get<EventStore>(EVENT_STORE);
            const verified = await verifyTables(tables, store, {
              retainedSince: await retainedSince(app.get<pg.Pool>(TABLES_POOL)),
              connectionString,
              repair,
              by: operator(),
              signal,
              onProgress: (events, total) => update(events, total),
            });
            const reactors = wanted.length > 0 ? [] : await app.get(RunningReactors).verify();
            return { ...verified, missingFiles: await missing(store, signal), reactors };
          }),
        ),
      );
      const lines = [
        ...reactors.map(({ reactor, detail }) => `reactors        WRONG · ${reactor}: ${detail}`),
        ...linesOf(result, repair),
        ...fileLines(missingFiles),
      ];
      print(command, { ...result, ...(missingFiles && { missingFiles }), reactors }, lines.join('\n'));
      if ((!result.isSound && !isRepaired(result, repair)) || missingFiles?.length || reactors.length > 0)
        process.exitCode = 3;
    });
}

interface VerifyFlags extends AuditFlags {
  readonly repair?: boolean;
  readonly audit?: boolean;
}

/** The files that events need and that are not there; undefined if it is not known where files are. */
async function missing(store: EventStore, signal: AbortSignal): Promise<readonly string[] | undefined> {
  const folder = process.env['WAYLOG_FILES_DIR'];
  if (!folder) return undefined;
  const references = new ReferencesInLog(store, vocabularyOf(contexts), { signal, skipsUnreadable: true });
  return (await verifyFiles(new DiskFileStore(folder), references, { signal, withoutReading: true })).missing;
}

const fileLines = (missing: readonly string[] | undefined): string[] => {
  if (missing === undefined) return [];
  if (missing.length === 0) return ['files           all that events need are there'];
  const named = missing.slice(0, SHOWN).join(', ');
  return [
    `files           MISSING · ${counted(missing.length, 'file')} that events need: ${named}${missing.length > SHOWN ? ' and more' : ''}. See waylog files verify --help.`,
  ];
};

/** Rows can be rewritten from the log; the log and the projector's records cannot. */
const isRepaired = ({ log, records, unfoldable, tables }: VerifyResult, repair: boolean): boolean =>
  repair &&
  tables.length > 0 &&
  records.length === 0 &&
  unfoldable.length === 0 &&
  log.every(({ severity }) => severity !== 'error');

const SHOWN = 10;

/** The findings of a verification, for people. */
export function linesOf(
  { events, position, log, records, incomplete, accepted, unfoldable, tables }: VerifyResult,
  repair: boolean,
): string[] {
  return [
    ...log.map(
      ({ severity, code, streamId, detail }) =>
        `log             ${severity === 'error' ? 'DAMAGED' : 'note'} · ${code} · ${streamId ? `${streamId} ` : ''}${detail}`,
    ),
    ...records.map(
      ({ streamId, recorded, folded }) =>
        `records         DIFFERENT · ${streamId}: the projector has noted revision ${recorded}, the log says ${folded}`,
    ),
    ...accepted.map((one) => `log             accepted · ${one.streamId}: ${acceptedText(one)}`),
    ...(incomplete.length > 0 ? [incompleteLine(incomplete)] : []),
    ...unfoldable.map((event) => `log             DAMAGED · ${unfoldableLine(event)}`),
    ...(unfoldable.length > 0
      ? [
          'Their rows were neither compared nor changed, and the log does not say what they should be. Mend the log from a backup; or ' +
            'have them parked (`waylog rebuild`), and leave the event out for good (`waylog parked discard`).',
        ]
      : []),
    ...tables.flatMap((table) => tableLines(table, repair)),
    tables.length > 0
      ? `compared at position ${position}, ${counted(events, 'event')}`
      : 'the tables were not compared: without its first event a log cannot be told from another one',
  ];
}

const incompleteLine = (streams: readonly string[]): string =>
  `log             DAMAGED · events are missing of ${streams.slice(0, SHOWN).join(', ')}` +
  (streams.length > SHOWN ? ` and ${streams.length - SHOWN} more (--json names all)` : '') +
  '. Their rows were neither compared nor changed.';

/** An event that cannot be folded, for people. */
export const unfoldableLine = (event: FailedEvent): string =>
  `${event.streamId}: its ${unfoldableText(event)}`;

function tableLines(table: VerifiedTable, repair: boolean): string[] {
  const { rows, since, differences } = table;
  const name = shownName(table).padEnd(15);
  const bound = since ? ` since ${since}` : '';
  if (differences.length === 0) return [`${name} ${counted(rows, 'row')}${bound} · as the log says`];
  return [
    `${name} ${counted(rows, 'row')}${bound} · ${counted(differences.length, 'stream')} ${repair ? 'REPAIRED' : 'DIFFERENT'}`,
    ...differences
      .slice(0, SHOWN)
      .map(
        ({ key, rowsFound, rowsExpected, repaired }) =>
          `  ${key}: ${counted(rowsFound, 'row')} found, ${rowsExpected} expected` +
          (repaired ? `; ${repaired.rowsRemoved} removed, ${repaired.rowsWritten} written` : ''),
      ),
    ...(differences.length > SHOWN ? [`  and ${differences.length - SHOWN} more (--json names all)`] : []),
  ];
}
