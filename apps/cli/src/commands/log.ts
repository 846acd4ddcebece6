import { createWriteStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Command, Option } from 'commander';
import type pg from 'pg';
import {
  acknowledgeLoss,
  compressLines,
  copyDataKeys,
  forgetErasedKeys,
  copyLog,
  exportLog,
  categoryOf,
  importLog,
  losses,
  type CopyResult,
  type EventStore,
  type ExportOptions,
  type ImportResult,
  type LogFileFooter,
  type Loss,
} from '#lib/event-store';
import { EVENT_STORE, LOG_POOL, RunningContexts, vocabularyOf } from '#lib/waylog';
import { conflict, isEventStoreUrl, isPostgresUrl, withoutCredentials, counted } from '#lib/platform';
import { databaseUp } from '#lib/timescale';
import { refuseOtherSchema } from '../../../../migrations/index.js';
import {
  accessTo,
  databaseOptions,
  eventStoreOf,
  globalsOf,
  operator,
  operatorPool,
  print,
  progress,
  untilInterrupted,
  UsageError,
  withOperations,
  withStore,
  withWaylog,
} from '../context.js';
import { connectionString } from '../connection-strings.js';
import { withProgress, withSteps } from '../progress-bar.js';
import { contexts } from '../../../contexts.js';

export function logCommand(): Command {
  return new Command('log')
    .description('Move the log, or single streams: export, import, and copy from one store to another.')
    .addCommand(exportCommand())
    .addCommand(importLogCommand())
    .addCommand(copyCommand())
    .addCommand(lossesCommand())
    .addCommand(acknowledgeCommand());
}

function lossesCommand(): Command {
  return new Command('losses')
    .description('What is gone since the log went back, as to a replica that was behind, or to a backup.')
    .option('--open', 'only what nobody has acknowledged')
    .addHelpText(
      'after',
      `
Whoever had seen more of the log than there is writes it down. Nothing brings the events back but the clients that were answered:
what they send again, with the same command ids, is recorded again. docs/how-to/log-that-went-back.md says what else to do.`,
    )
    .action(async ({ open = false }: { open?: boolean }, command: Command) => {
      const found = await withOperations(command, (app) => losses(app.get<pg.Pool>(LOG_POOL), { open }));
      print(
        command,
        found,
        found.length > 0 ? found.map(lossText).join('\n') : 'nothing is known to be gone',
      );
    });
}

function acknowledgeCommand(): Command {
  return new Command('acknowledge')
    .description('Say that a loss is known, and what was done about it: its alert ends.')
    .argument('<id>', 'as `waylog log losses` shows it', (id: string) => {
      if (!/^[1-9]\d{0,8}$/.test(id))
        throw new UsageError(`${id} is no id of a loss: see waylog log losses.`);
      return Number(id);
    })
    .requiredOption('--why <text>', 'what happened, and what was done about it')
    .action(async (id: number, { why }: { why: string }, command: Command) => {
      await withOperations(command, (app) =>
        acknowledgeLoss(app.get<pg.Pool>(LOG_POOL), id, { by: operator(), why }),
      );
      print(command, { id }, `loss ${id} is acknowledged`);
    });
}

const lossText = (loss: Loss): string =>
  [
    `${loss.id}  ${loss.noticedAt} by ${loss.noticedBy}: nothing is left after position ${loss.keptPosition} of what came up to ${loss.seenPosition}`,
    `   recorded between ${loss.keptAt ?? 'a time that is not known'} and ${loss.seenAt ?? 'a time that is not known'}`,
    `   events: ${loss.events === undefined ? 'not known' : `at most ${loss.events}`}; commands that it had answered: ${loss.commands ?? 'not known'}`,
    ...loss.streams
      .slice(0, 20)
      .map(({ streamId, from, to }) => `   ${streamId}: revisions ${from} to ${to}`),
    ...(loss.streams.length > 20
      ? [`   and ${loss.streams.length - 20} more streams (--json has them)`]
      : []),
    loss.acknowledgedAt === undefined
      ? '   OPEN'
      : `   acknowledged ${loss.acknowledgedAt} by ${loss.acknowledgedBy ?? ''}: ${loss.acknowledgement ?? ''}`,
  ].join('\n');

const STREAM_OPTION = [
  '--stream <id>',
  'only this stream, such as flight-f1; may be given several times',
  (id: string, ids?: string[]) => [...(ids ?? []), id],
] as const;

/** Throws UsageError for the id of a thing alone: its stream has the kind of thing before it. */
function knownStreams(ids: readonly string[]): string[] {
  const categories = contexts.flatMap((context) => context.categories);
  for (const id of ids)
    if (!categories.includes(categoryOf(id) ?? ''))
      throw new UsageError(
        `--stream takes the id of a stream, such as ${categories.map((name) => `${name}-${id}`).join(' or ')}.`,
      );
  return [...new Set(ids)];
}

function exportCommand(): Command {
  return new Command('export')
    .description('Write the events of streams, or of all, as NDJSON compressed with zstd.')
    .option(...STREAM_OPTION)
    .option('--after <position>', 'only events after this position')
    .option('--to <file>', 'the file to write; without it standard output')
    .addHelpText(
      'after',
      `
Holds up no writer. The file has what the log had when the export began: of each stream all events up to then. A line is
an event with its stream, revision, id, type, data and metadata, and the position and time that it had here; the first
line says where it is from, the last one counts and hashes. Look at one with: zstd -dc FILE | head -3 | jq

Examples
  waylog log export > all.ndjson.zst
  waylog log export --stream flight-f1 --stream flight-f2 --to two.ndjson.zst
  waylog log export --after 41800 --to since.ndjson.zst`,
    )
    .action(async (options: { stream?: string[]; after?: string; to?: string }, command: Command) => {
      if (options.to === undefined && process.stdout.isTTY) {
        throw new UsageError('This would write compressed bytes to the terminal: add > FILE, or --to FILE.');
      }
      const footer = await withLog(command, async (store, from) => {
        const done = await store.backlog(options.after ?? store.beginning);
        return untilInterrupted((signal) =>
          withProgress('exporting', done.events, async (update) => {
            // EventStoreDB counts only so far.
            const onProgress = (events: number) => update(events, Math.max(events, done.events));
            const lines = exportLog({
              store,
              from,
              signal,
              onProgress,
              ...(options.stream && { streams: knownStreams(options.stream) }),
              ...(options.after !== undefined && { after: options.after }),
            } satisfies ExportOptions);
            return write(lines, options.to);
          }),
        );
      });
      const text = `exported ${counted(footer.events, 'event')} of ${counted(footer.streams, 'stream')}`;
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
on. A stream that has other events here is left as it is and reported, the others go on.

Exit codes: 0 all of it is here, 1 nothing was imported or it was cut off, 3 streams were left out for a conflict.`,
    )
    .action(async (file: string, _options, command: Command) => {
      const { size } = await stat(file).catch(() => {
        throw new UsageError(`There is no file ${file}.`);
      });
      const result = await withWaylog(command, async (app) => {
        const done = await untilInterrupted((signal) =>
          withSteps('bytes', (report) =>
            importLog({
              file,
              store: app.get<EventStore>(EVENT_STORE),
              vocabulary: vocabularyOf(contexts),
              signal,
              onProgress: (step, bytes) => report(step, bytes, size),
            }),
          ),
        );
        if (done.position !== undefined) await app.get(RunningContexts).waitFor(done.position, 10 * 60_000);
        return done;
      });
      print(command, result, summary(result));
      if (result.conflicts.length > 0) process.exitCode = 3;
    });
}

function copyCommand(): Command {
  return new Command('copy')
    .description('Copy the log from one store to the other, event for event, and compare the two by hash.')
    .requiredOption(
      '--from <url>',
      'where it is: postgres://..., esdb://..., esdb+discover://..., or env:NAME or file:PATH for one with a password',
    )
    .requiredOption('--to <url>', 'the log to copy into')
    .addOption(
      new Option(
        '--order <what>',
        'what keeps its order: the whole log, or each stream by itself, which writes several at once',
      )
        .choices(['log', 'streams'])
        .default('log'),
    )
    .option(...STREAM_OPTION)
    .addHelpText(
      'after',
      `
Copied is what the source holds when the copy begins, in its order, each event under its stream, revision and id. Positions
and times of recording are the target's own. A target in PostgreSQL must have the schema (\`waylog migrate\`). Nothing is
recorded twice: an interrupted copy goes on, and a later one takes what has come since. For a move: copy while the servers
run, stop them, copy the rest, and start them with the new EVENT_STORE. A stream that has other events in the target is
left as it is and named. A log that does not answer, as while a cluster chooses a leader, is waited for, up to two minutes.
With --order streams events of different streams that are fewer than 1,000 apart may change places: that is many times as
fast into EventStoreDB, and no table looks different for it.

Examples
  waylog log copy --from env:DATABASE_URL --to file:/run/secrets/event-store
  waylog log copy --from esdb://127.0.0.1:2113?tls=false --to env:DATABASE_URL --stream flight-f1

Exit codes: 0 both say the same, 1 it was cut off, 3 they do not.`,
    )
    .action(
      async (
        { from, to, order, stream }: { from: string; to: string; order: string; stream?: string[] },
        command: Command,
      ) => {
        const fromUrl = connectionString('--from', from);
        const toUrl = connectionString('--to', to);
        if (withoutCredentials(fromUrl) === withoutCredentials(toUrl))
          throw new UsageError('--from and --to are the same store.');
        const streams = stream && knownStreams(stream);
        const haveKeys = isPostgresUrl(fromUrl) && isPostgresUrl(toUrl);
        const result = await withLogAt(fromUrl, '--from', (source) =>
          withLogAt(toUrl, '--to', async (target) => {
            // What is sealed in the log opens with keys that are beside the tables.
            if (haveKeys) await withPools(fromUrl, toUrl, (from, to) => copyDataKeys(from, to, streams));
            return untilInterrupted((signal) =>
              withSteps('events', (onProgress) =>
                copyLog({
                  from: source,
                  to: target,
                  order: order === 'streams' ? 'stream' : 'log',
                  signal,
                  onProgress,
                  onWarning: progress,
                  ...(streams && { streams }),
                }),
              ),
            );
          }),
        );
        if (haveKeys)
          await withPools(fromUrl, toUrl, (_, target) => forgetErasedKeys(target, vocabularyOf(contexts)));
        print(command, result, copied(result));
        if (!result.identical) process.exitCode = 3;
      },
    );
}

/** A log by its URL alone, read as it was written. */
async function withLogAt<T>(
  url: string,
  option: string,
  work: (store: EventStore) => Promise<T>,
): Promise<T> {
  if (isEventStoreUrl(url)) {
    // Its snapshots would be in a database, and a copy looks at none.
    return withStore({ url: 'postgres://no-snapshots', eventStore: url, isRaw: true }, work);
  }
  if (!isPostgresUrl(url))
    throw new UsageError(`${option} takes postgres://..., esdb://... or esdb+discover://...`);
  await refuseOtherSchema(url);
  return withStore({ url, isRaw: true }, work);
}

async function withPools<T>(
  from: string,
  to: string,
  work: (from: pg.Pool, to: pg.Pool) => Promise<T>,
): Promise<T> {
  const accesses = await Promise.all([accessTo(from), accessTo(to)]);
  const [source, target] = accesses.map(({ app }) => operatorPool(app.url)) as [pg.Pool, pg.Pool];
  try {
    return await work(source, target);
  } finally {
    await Promise.all([source.end(), target.end()]);
  }
}

const copied = ({ recorded, already, source, target, sameOrder, differences }: CopyResult): string =>
  [
    `recorded    ${recorded}`,
    `already     ${already} were there`,
    `source      ${counted(source.events, 'event')} of ${counted(source.streams, 'stream')}, SHA-256 ${source.sha256}`,
    `target      ${counted(target.events, 'event')} of ${counted(target.streams, 'stream')}, SHA-256 ${target.sha256}`,
    `order       ${sameOrder ? 'the same' : 'each stream in its own, but the streams stand otherwise among each other'}`,
    ...(differences.length === 0
      ? ['identical']
      : [
          `DIFFERENT in ${counted(differences.length, 'stream')}:`,
          ...differences.map(
            (d) =>
              `  ${d.streamId}: ${d.what}; the source has ${counted(d.source, 'event')}, the target ${d.target}`,
          ),
        ]),
  ].join('\n');

async function withLog<T>(
  command: Command,
  work: (store: EventStore, from: string) => Promise<T>,
): Promise<T> {
  const { url } = await databaseUp(databaseOptions(command));
  const eventStore = eventStoreOf(command);
  const from = withoutCredentials(eventStore ?? url).replace(/^postgres(ql)?:\/\//, '');
  return withStore({ url, eventStore }, (store) => work(store, from));
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

/** What a file says of itself may be anything. */
const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ');

const summary = ({ header, events, streams, ...result }: ImportResult): string => {
  const { recorded, already, skipped, conflicts, claims, files } = result;
  return [
    `from        ${oneLine(header.from)}, exported ${oneLine(header.exportedAt)}`,
    `file        ${counted(events, 'event')} of ${counted(streams, 'stream')}`,
    `recorded    ${recorded}`,
    `already     ${already} were here`,
    ...(claims > 0
      ? [
          `claims      ${counted(claims, 'value')} that could be taken once there can be taken again here: the secret of the claims is not in the file`,
        ]
      : []),
    ...(files > 0
      ? [
          `files       ${counted(files, 'event')} name files, which are not in this one: copy their folder, and run \`waylog files verify\``,
        ]
      : []),
    ...(conflicts.length > 0
      ? [`left out    ${skipped} of ${counted(conflicts.length, 'stream')} with a conflict:`]
      : []),
    ...conflicts.map(
      ({ streamId, revision, line, reason }) =>
        `  ${streamId} at revision ${revision} (line ${line}): ${reason}`,
    ),
  ].join('\n');
};
