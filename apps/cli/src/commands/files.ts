import { Command } from 'commander';
import type pg from 'pg';
import {
  DiskFileStore,
  isFolder,
  verifyFiles,
  type Collection,
  type FileStore,
  type FilesVerification,
} from '#lib/files';
import type { EventStore } from '#lib/event-store';
import { counted } from '#lib/platform';
import {
  collectFiles,
  EVENT_STORE,
  FILES_GRACE_MS,
  LOG_POOL,
  ReferencesInLog,
  vocabularyOf,
} from '#lib/waylog';
import { contexts } from '../../../contexts.js';
import { print, untilInterrupted, UsageError, withOperations } from '../context.js';
import { withProgress } from '../progress-bar.js';

export function filesCommand(): Command {
  return new Command('files')
    .description(
      'Check the files that events name, such as the content of images, and remove those that none names.',
    )
    .addHelpText(
      'after',
      `
They are in WAYLOG_FILES_DIR, each under the SHA-256 of its content. docs/how-to/store-files.md says how to store and to back
them up.`,
    )
    .addCommand(verifyFilesCommand())
    .addCommand(collectCommand());
}

function verifyFilesCommand(): Command {
  return new Command('verify')
    .description('Read every byte of every file, compare it with its name, and name what is missing.')
    .option('--dir <folder>', 'where the files are, instead of WAYLOG_FILES_DIR')
    .option('--quick', 'read no file: only look whether those are there that events need')
    .addHelpText(
      'after',
      `
A damaged file is mended when the same content is stored again, or by a copy from a backup: to the place that its name says
(ab/cd/abcd...). Reads and writes go on meanwhile.

Exit codes: 0 all is as it should be, 3 something is damaged or missing.`,
    )
    .action(async ({ dir, quick = false }: { dir?: string; quick?: boolean }, command: Command) => {
      const files = await storeIn(dir);
      const result = await withReferences(command, (references) =>
        untilInterrupted((signal) =>
          withProgress('reading', 1, (onProgress) =>
            verifyFiles(files, references(signal), { signal, onProgress, withoutReading: quick }),
          ),
        ),
      );
      print(command, result, linesOfVerification(result, quick).join('\n'));
      if (result.damaged.length + result.missing.length > 0) process.exitCode = 3;
    });
}

const SHOWN = 20;

/** What a verification has found, for people. */
function linesOfVerification(
  { files, bytes, referenced, damaged, missing }: FilesVerification,
  isQuick: boolean,
): string[] {
  const shown = (lines: readonly string[]) =>
    lines.length > SHOWN
      ? [...lines.slice(0, SHOWN), `and ${lines.length - SHOWN} more (--json names all)`]
      : lines;
  return [
    ...shown(
      damaged.map(
        ({ sha256, is, error }) => `DAMAGED ${sha256}: ${error ?? `its bytes have the SHA-256 ${is ?? ''}`}`,
      ),
    ),
    ...shown(missing.map((sha256) => `MISSING ${sha256}`)),
    `${counted(files, 'file')} of ${bytes} bytes${isQuick ? '' : `, ${counted(damaged.length, 'damaged file')}`} · events need ${referenced}, ${missing.length} of them missing`,
  ];
}

interface CollectFlags {
  readonly dir?: string;
  readonly dryRun?: boolean;
  readonly acceptLog?: boolean;
}

function collectCommand(): Command {
  return new Command('gc')
    .description('Remove the files that no event needs.')
    .option('--dir <folder>', 'where the files are, instead of WAYLOG_FILES_DIR')
    .option('--dry-run', 'only say what would be removed')
    .option('--accept-log', 'this log is that of the files, although it does not hold what it did')
    .addHelpText(
      'after',
      `
A file stays for as long as the log has an event that needs it, also one of a deleted flight: the past can be read. An erasure
gives its files back. What was stored within the last day stays in every case: its event may be on the way. Servers with the
role projector do this by themselves (WAYLOG_FILES_COLLECT).`,
    )
    .action(async ({ dir, dryRun = false, acceptLog = false }: CollectFlags, command: Command) => {
      const files = await storeIn(dir);
      const result = await withOperations(command, (app) =>
        untilInterrupted((signal) =>
          withProgress('removing', 1, (onProgress) =>
            collectFiles(files, {
              store: app.get<EventStore>(EVENT_STORE),
              vocabulary: vocabularyOf(contexts),
              pool: app.get<pg.Pool>(LOG_POOL),
              graceMs: FILES_GRACE_MS,
              isDryRun: dryRun,
              acceptsLog: acceptLog,
              signal,
              onProgress,
            }),
          ),
        ),
      );
      print(command, result, linesOfCollection(result, dryRun).join('\n'));
    });
}

function linesOfCollection(
  { files, bytes, unneeded, young, removed, unfinished }: Collection,
  isDry: boolean,
) {
  return [
    `${counted(files, 'file')} of ${bytes} bytes`,
    isDry
      ? `would remove ${counted(unneeded.files, 'file')} of ${unneeded.bytes} bytes, which no event needs`
      : `removed ${counted(removed.length, 'file')} that no event needs`,
    ...(young.files > 0
      ? [`${counted(young.files, 'file')} that no event needs yet, of the last day: left alone`]
      : []),
    ...(unfinished > 0 ? [`removed ${counted(unfinished, 'unfinished file')}`] : []),
  ];
}

/** Throws UsageError. */
async function storeIn(folder = process.env['WAYLOG_FILES_DIR']): Promise<FileStore> {
  if (!folder) throw new UsageError('Name the folder of the files: --dir FOLDER, or WAYLOG_FILES_DIR.');
  if (!(await isFolder(folder)))
    throw new UsageError(`There is no folder ${folder}: mount its disk, or put the name right.`);
  return new DiskFileStore(folder);
}

/** Runs `work` with what reads from the log which files are needed. */
const withReferences = <T>(
  command: Command,
  work: (references: (signal: AbortSignal) => ReferencesInLog) => Promise<T>,
): Promise<T> =>
  withOperations(command, (app) =>
    work(
      (signal) =>
        new ReferencesInLog(app.get<EventStore>(EVENT_STORE), vocabularyOf(contexts), {
          signal,
          skipsUnreadable: true,
        }),
    ),
  );
