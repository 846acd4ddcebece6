import { createWriteStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Command } from 'commander';
import {
  compressLines,
  exportLog,
  importLog,
  type EventStore,
  type ExportOptions,
  type ImportResult,
  type LogFileFooter,
} from '#lib/event-store';
import { EVENT_STORE, flightUpcasters, streamOf } from '#lib/flight';
import { conflict } from '#lib/platform';
import { CheckpointWatch } from '#lib/projections';
import { databaseUp } from '#lib/timescale';
import {
  databaseOptions,
  globalsOf,
  print,
  progress,
  untilInterrupted,
  UsageError,
  withStore,
  withWaylog,
} from '../context.js';
import { withProgress, withSteps } from '../progress-bar.js';

export function logCommand(): Command {
  return new Command('log')
    .description('Move the log, or single flights, between environments: export and import.')
    .addCommand(exportCommand())
    .addCommand(importLogCommand());
}

function exportCommand(): Command {
  return new Command('export')
    .description('Write the events of flights, or of all, as NDJSON compressed with zstd.')
    .option('--flight <id>', 'only this flight; may be given several times', (id: string, ids?: string[]) => [
      ...(ids ?? []),
      id,
    ])
    .option('--after <position>', 'only events after this position')
    .option('--to <file>', 'the file to write; without it standard output')
    .addHelpText(
      'after',
      `
Holds up no writer. The file has what the log had when the export began: of each flight all events up to then. A line is
an event with its stream, revision, id, type, data and metadata, and the position and time that it had here; the first
line says where it is from, the last one counts and hashes. Look at one with: zstd -dc FILE | head -3 | jq

Examples
  waylog log export > all.ndjson.zst
  waylog log export --flight fjord-1 --flight fjord-2 --to two.ndjson.zst
  waylog log export --after 41800 --to since.ndjson.zst`,
    )
    .action(async (options: { flight?: string[]; after?: string; to?: string }, command: Command) => {
      if (options.to === undefined && process.stdout.isTTY) {
        throw new UsageError('This would write compressed bytes to the terminal: add > FILE, or --to FILE.');
      }
      const footer = await withLog(command, async (store, from) => {
        const done = await store.backlog(options.after ?? store.beginning);
        return untilInterrupted((signal) =>
          withProgress('exporting', done.events, async (onProgress) => {
            const lines = exportLog({
              store,
              from,
              signal,
              onProgress,
              ...(options.flight && { streams: [...new Set(options.flight)].map(streamOf) }),
              ...(options.after !== undefined && { after: options.after }),
            } satisfies ExportOptions);
            return write(lines, options.to);
          }),
        );
      });
      const text = `exported ${footer.events} events of ${footer.streams} streams`;
      if (options.to !== undefined)
        print(command, { file: options.to, ...footer }, `${text} to ${options.to}`);
      // Standard output is the file.
      else progress(globalsOf(command).json ? JSON.stringify(footer) : text);
    });
}

function importLogCommand(): Command {
  return new Command('import')
    .description('Record the events of an exported file, each under its own stream, revision and id.')
    .argument('<file>', 'as `waylog log export` writes it; a plain .ndjson is taken as well')
    .addHelpText(
      'after',
      `
The whole file is checked before anything is written; a bad line is named. Position and time of recording are this log's
own: what they were stays in the file. Importing a file again records nothing twice, and an import that was cut off goes
on. A flight that has other events here is left as it is and reported, the others go on.

Exit codes: 0 all of it is here, 1 nothing was imported or it was cut off, 3 flights were left out for a conflict.`,
    )
    .action(async (file: string, _options, command: Command) => {
      const { size } = await stat(file).catch(() => {
        throw new UsageError(`There is no file ${file}.`);
      });
      const result = await withWaylog(command, async (app) => {
        const done = await untilInterrupted((signal) =>
          withSteps((report) =>
            importLog({
              file,
              store: app.get<EventStore>(EVENT_STORE),
              upcasters: flightUpcasters,
              signal,
              onProgress: (step, bytes) => report(step, bytes, size),
            }),
          ),
        );
        if (done.position !== undefined) await app.get(CheckpointWatch).waitFor(done.position, 10 * 60_000);
        return done;
      });
      print(command, result, summary(result));
      if (result.conflicts.length > 0) process.exitCode = 3;
    });
}

async function withLog<T>(
  command: Command,
  work: (store: EventStore, from: string) => Promise<T>,
): Promise<T> {
  const { url } = await databaseUp(databaseOptions(command));
  const { host, pathname } = new URL(url);
  return withStore(url, (store) => work(store, `${host}${pathname}`));
}

/** To a file under another name until it is whole, or to standard output. */
async function write(
  lines: AsyncGenerator<string, LogFileFooter>,
  to: string | undefined,
): Promise<LogFileFooter> {
  let footer: LogFileFooter | undefined;
  async function* withFooter() {
    footer = yield* lines;
  }
  const writeTo = (target: Writable, end: boolean) => pipeline(compressLines(withFooter()), target, { end });
  if (to === undefined) {
    await writeTo(process.stdout, false);
  } else {
    const partial = `${resolve(to)}.partial`;
    const exists = await stat(to).then(
      () => true,
      () => false,
    );
    if (exists) throw conflict('log-file.exists', `${to} exists already. An export never replaces a file.`);
    try {
      await writeTo(createWriteStream(partial, { flags: 'w', mode: 0o600, flush: true }), true);
      await rename(partial, to);
      const folder = await open(dirname(resolve(to)), 'r');
      await folder.sync();
      await folder.close();
    } finally {
      await rm(partial, { force: true });
    }
  }
  if (!footer) throw new Error('the export ended without a footer');
  return footer;
}

const summary = ({ header, events, streams, recorded, already, skipped, conflicts }: ImportResult): string =>
  [
    `from        ${header.from}, exported ${header.exportedAt}`,
    `file        ${events} events of ${streams} streams`,
    `recorded    ${recorded}`,
    `already     ${already} were here`,
    ...(conflicts.length > 0
      ? [`left out    ${skipped} of ${conflicts.length} streams with a conflict:`]
      : []),
    ...conflicts.map(
      ({ streamId, revision, line, reason }) =>
        `  ${streamId} at revision ${revision} (line ${line}): ${reason}`,
    ),
  ].join('\n');
