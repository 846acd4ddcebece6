import { counted } from '#lib/platform';
import { Command } from 'commander';
import { endCachedAnswers } from '#lib/projections';
import { Archives, type ArchivalEvent, type ArchiveProgress } from '#lib/timescale';
import { print, withDatabase } from '../context.js';
import { withProgress } from '../progress-bar.js';
import { timeBefore } from '../times.js';
import { size } from './hypertables.js';
import { contexts } from '../../../contexts.js';
import { tableModelsOf } from '#lib/waylog';

export function archiveCommand(): Command {
  const command = new Command('archive')
    .description('Write old chunks into files, drop them, and bring them back.')
    .addHelpText(
      'after',
      `
Files are CSV, gzipped, each with a manifest beside it. A chunk is dropped only after its file has been read back and
compared, and only if its rows are still the same. Whatever is killed when, run it again: it goes on.

Examples
  waylog archive run --older-than 90d --to /srv/waylog-archive
  waylog archive list
  waylog archive restore 7c0f2a30-5b1d-4d55-9f43-1c6a1a9b7f52`,
    );
  command
    .command('run')
    .description('Archive the chunks that are old enough, after finishing what an earlier run has left.')
    .requiredOption(
      '--older-than <length or time>',
      'chunks whose end is so long ago, or at that time or before',
    )
    .requiredOption('--to <folder>', 'where the files go')
    .option('--table <table...>', 'only these; all hypertables when none is named')
    .action((options: { olderThan: string; to: string; table?: string[] }, sub: Command) =>
      withDatabase(sub, async ({ pool }) => {
        const archives = new Archives(pool, tableModelsOf(contexts), endCachedAnswers);
        const confirmations = await withProgress('archiving', 1, (update) =>
          archives.run({
            olderThan: new Date(timeBefore(options.olderThan)),
            directory: options.to,
            ...(options.table && { tables: options.table }),
            onProgress: shareOf(update),
          }),
        );
        const lines = confirmations.map(
          ({ eventId, tableName, status, chunks, rows, bytes, errorMessage }) =>
            `${eventId} ${tableName} ${status} · ${counted(chunks, 'chunk')} · ${counted(rows, 'row')} · ${size(bytes)} in files` +
            (errorMessage ? `\n  ${errorMessage}` : ''),
        );
        print(sub, { confirmations }, lines.join('\n') || 'nothing is old enough');
        if (confirmations.some(({ status }) => status !== 'completed')) process.exitCode = 1;
      }),
    );
  command
    .command('list')
    .description('What has been archived, the newest first.')
    .action((_options, sub: Command) =>
      withDatabase(sub, async ({ pool }) => {
        const events = await new Archives(pool, tableModelsOf(contexts), endCachedAnswers).list();
        print(sub, { events }, events.map(eventText).join('\n') || 'no archives');
      }),
    );
  command
    .command('restore')
    .argument('<event>', 'the id that `waylog archive list` shows')
    .description('Bring the rows of an archive back into their table. A second time changes nothing.')
    .option('--from <folder>', 'where the files are now, when they have been moved')
    .action((eventId: string, options: { from?: string }, sub: Command) =>
      withDatabase(sub, async ({ pool }) => {
        const archives = new Archives(pool, tableModelsOf(contexts), endCachedAnswers);
        const result = await withProgress('restoring', 1, (update) =>
          archives.restore(eventId, { directory: options.from, onProgress: shareOf(update) }),
        );
        const { tableName, chunks, restored, present, outdated, notes } = result;
        const text = `${tableName}: ${counted(chunks, 'chunk')} · ${counted(restored, 'row')} restored · ${present} were there · ${outdated} outdated`;
        print(sub, result, [text, ...notes].join('\n'));
      }),
    );
  return command;
}

/** The bar counts steps of the current table. */
const shareOf =
  (update: (done: number, total?: number) => void) =>
  ({ done, total }: ArchiveProgress): void =>
    update(done, total);

const eventText = ({
  eventId,
  tableName,
  status,
  createdAt,
  lakehousePath,
  chunks,
  errorMessage,
}: ArchivalEvent): string =>
  [
    `${eventId} ${tableName} ${status} · ${createdAt} · ${lakehousePath}`,
    ...(errorMessage ? [`  ${errorMessage}`] : []),
    ...chunks.map(
      ({ rangeStart, rangeEnd, state, rows = 0, file }) =>
        `  ${rangeStart} to ${rangeEnd} · ${state} · ${counted(rows, 'row')}${file ? ` · ${file}` : ''}`,
    ),
  ].join('\n');
