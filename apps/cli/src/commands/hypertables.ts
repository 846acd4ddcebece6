import { counted } from '#lib/platform';
import { Command } from 'commander';
import {
  applyRetention,
  Hypertables,
  type ChunkInfo,
  type HypertableInfo,
  type HypertableResponse,
} from '#lib/timescale';
import { print, UsageError, withDatabase } from '../context.js';
import { timeBefore } from '../times.js';
import { contexts } from '../../../contexts.js';
import { tableModelsOf } from '#lib/waylog';

const tables = tableModelsOf(contexts)
  .map(({ schema, name }) => `${schema}.${name}`)
  .join(', ');

export function hypertablesCommand(): Command {
  const command = new Command('hypertables')
    .description('See and change how hypertables are cut into chunks, compressed and kept.')
    .addHelpText(
      'after',
      `
Tables of registered models: ${tables}.
The schema may be left out. Lengths of time are a number and a unit: 90d, 12 hours, 7 days.

Examples
  waylog hypertables list
  waylog hypertables chunks frame_results
  waylog hypertables set frame_results --chunk-interval 1d --retention 90d
  waylog hypertables set frame_results --compress --compress-after 30d
  waylog hypertables drop-chunks frame_results --older-than 90d --dry-run
  waylog hypertables drop-chunks frame_results --older-than 90d --confirm flight.frame_results

Rows that are dropped stay in the log: \`waylog rebuild\` brings them back until the next run of the retention.
\`waylog archive run\` writes chunks into files before it drops them.`,
    );
  command
    .command('list')
    .description('Every hypertable with its size, chunks, compression and retention.')
    .action((_options, sub: Command) =>
      withHypertables(sub, async (hypertables) => {
        const list = await hypertables.list();
        print(sub, { hypertables: list }, list.map(infoText).join('\n') || 'no hypertables');
      }),
    );
  command
    .command('chunks')
    .argument('<table>', 'such as frame_results')
    .description('The chunks of a hypertable, oldest first.')
    .action((table: string, _options, sub: Command) =>
      withHypertables(sub, async (hypertables) => {
        const chunks = await hypertables.chunks(table);
        print(sub, { chunks }, chunksText(chunks) || 'no chunks');
      }),
    );
  command
    .command('create')
    .argument('<table>', 'such as frame_results')
    .description('Make a table of a registered model a hypertable.')
    .requiredOption('--time-column <column>', 'the column by which it is cut into chunks')
    .option('--chunk-interval <length>', 'the time that one chunk covers (7 days)')
    .option('--retention <length>', 'drop chunks once their end is so long ago')
    .option('--compress', 'compress chunks, where the edition can')
    .option('--compress-after <length>', 'once their end is so long ago (30 days)')
    .option('--migrate-data', 'move the rows of a table that has some; nobody can use it meanwhile')
    .action((tableName: string, options: CreateOptions, sub: Command) =>
      withHypertables(sub, async (hypertables) => {
        const response = await hypertables.create({
          tableName,
          timeColumn: options.timeColumn,
          chunkInterval: options.chunkInterval ?? null,
          retentionPeriod: options.retention ?? null,
          compressionEnabled: options.compress ?? false,
          compressAfter: options.compressAfter ?? null,
          migrateData: options.migrateData ?? false,
        });
        printResponse(sub, response, 'is a hypertable now');
      }),
    );
  command
    .command('set')
    .argument('<table>', 'such as frame_results')
    .description('Change the chunk interval, the retention or the compression; what is not named stays.')
    .option('--chunk-interval <length>', 'for chunks made from now on')
    .option('--retention <length>', 'drop chunks once their end is so long ago; none keeps them')
    .option('--compress', 'compress chunks, where the edition can')
    .option('--no-compress', 'compress no more, and decompress those that are')
    .option('--compress-after <length>', 'once their end is so long ago (30 days)')
    .action((table: string, options: SetOptions, sub: Command) => {
      if (Object.keys(options).length === 0) throw new UsageError('Say what to change: see --help.');
      return withHypertables(sub, async (hypertables) => {
        const response = await hypertables.change(table, {
          chunkInterval: options.chunkInterval ?? null,
          retentionPeriod: options.retention ?? null,
          compressionEnabled: options.compress ?? null,
          compressAfter: options.compressAfter ?? null,
        });
        printResponse(sub, response, 'is set');
      });
    });
  command
    .command('drop-chunks')
    .argument('<table>', 'such as frame_results')
    .description('Drop old chunks with the rows in them. Without --confirm nothing is dropped.')
    .requiredOption(
      '--older-than <length or time>',
      'chunks whose end is so long ago, or at that time or before',
    )
    .option('--dry-run', 'only list them')
    .option('--confirm <table>', 'the full name of the table')
    .action((table: string, options: DropOptions, sub: Command) =>
      withHypertables(sub, async (hypertables) => {
        const result = await hypertables.dropChunks(table, {
          olderThan: timeBefore(options.olderThan),
          dryRun: options.dryRun ?? false,
          confirm: options.confirm,
        });
        const what = result.dryRun ? 'would drop' : 'dropped';
        const text = `${what} ${counted(result.chunks.length, 'chunk')} of ${result.tableName}, ${size(result.bytes)}`;
        print(sub, result, [text, chunksText(result.chunks), ...result.notes].filter(Boolean).join('\n'));
      }),
    );
  command
    .command('apply-retention')
    .description('Run the retention once, now: what the server does by schedule.')
    .action((_options, sub: Command) =>
      withDatabase(sub, async ({ pool }) => {
        const runs = await applyRetention(pool);
        const text = runs.map(
          ({ tableName, dropped, restored, error }) =>
            `${tableName}: ${error ?? (restored ? `made again: ${restored.join(', ')}` : `dropped ${counted(dropped.length, 'chunk')}`)}`,
        );
        print(
          sub,
          { runs },
          text.join('\n') ||
            'nothing to do: the policies of TimescaleDB are as they should be, there is no retention, or another process is at it',
        );
        if (runs.some(({ error }) => error !== undefined)) process.exitCode = 1;
      }),
    );
  command
    .command('verify-rollups')
    .description(
      'Compare rollups with another computation of the same numbers. Exit code 3 when they differ, 1 when they are too far behind to tell.',
    )
    .action((_options, sub: Command) =>
      withDatabase(sub, async ({ pool }) => {
        const results = [];
        const lines: string[] = [];
        for (const { name, rollup } of contexts.flatMap(({ followers }) => followers)) {
          if (!rollup) continue;
          const result = await rollup.verify(pool);
          results.push({ rollup: name, ...result });
          const { length } = result.differences;
          const verdict = result.identical
            ? 'identical'
            : result.caughtUp
              ? `DIFFERENT in ${length}${length < 100 ? '' : ' or more'}`
              : 'not compared to the end: the rollup is behind what it sums up. A server with the role projector keeps it; run this again when it has caught up';
          lines.push(`${name}: ${result.minutes} minutes · ${verdict}`);
          if (result.caughtUp) lines.push(...result.differences.map((one) => rollup.tell(one as never)));
        }
        print(sub, { rollups: results }, lines.join('\n'));
        const different = results.filter(({ identical }) => !identical);
        if (different.length > 0) process.exitCode = different.some(({ caughtUp }) => caughtUp) ? 3 : 1;
      }),
    );
  return command;
}

interface CreateOptions {
  readonly timeColumn: string;
  readonly chunkInterval?: string;
  readonly retention?: string;
  readonly compress?: boolean;
  readonly compressAfter?: string;
  readonly migrateData?: boolean;
}
type SetOptions = Partial<Omit<CreateOptions, 'timeColumn' | 'migrateData'>>;
interface DropOptions {
  readonly olderThan: string;
  readonly dryRun?: boolean;
  readonly confirm?: string;
}

const withHypertables = (command: Command, work: (hypertables: Hypertables) => Promise<void>) =>
  withDatabase(command, ({ pool }) => work(new Hypertables(pool, tableModelsOf(contexts))));

/** Exit code 1 if a part could not be done. */
function printResponse(command: Command, response: HypertableResponse, done: string): void {
  const { tableName, chunkInterval, retentionPolicy, compressionPolicy, errorMessage, notes } = response;
  const kept = retentionPolicy?.retentionPeriod ?? 'for ever';
  const text =
    `${tableName} ${done} · chunks of ${chunkInterval ?? 'unknown length'} · kept ${kept} · ` +
    (compressionPolicy?.enabled
      ? `compressed after ${compressionPolicy.compressAfter ?? 'a call by hand'}`
      : 'not compressed');
  print(command, response, [text, ...(errorMessage ? [errorMessage] : []), ...notes].join('\n'));
  if (!response.success) process.exitCode = 1;
}

const infoText = (info: HypertableInfo): string => {
  const { retention, compression } = info;
  const kept = retention.retentionPeriod
    ? `kept ${retention.retentionPeriod} by ${retention.mechanism}${retention.lastError ? `, FAILING: ${retention.lastError}` : ''}`
    : 'kept for ever';
  const compressed = compression.enabled
    ? `compressed after ${compression.compressAfter ?? 'a call by hand'}, ${info.compressedChunks} chunks are${compression.lastError ? `, FAILING: ${compression.lastError}` : ''}`
    : compression.available
      ? 'not compressed'
      : `compression unavailable: ${compression.reason ?? ''}`;
  return [
    `${info.tableName} over ${info.timeColumn}`,
    `  ${counted(info.chunkCount, 'chunk')} of ${info.chunkInterval} · ${size(info.sizeBytes)}${info.rowEstimate > 0 ? ` · about ${counted(info.rowEstimate, 'row')}` : ''}`,
    `  ${kept}${info.retainedSince ? ` · complete since ${info.retainedSince}` : ''}`,
    `  ${compressed}`,
  ].join('\n');
};

const chunksText = (chunks: readonly ChunkInfo[]): string =>
  chunks
    .map(
      ({ chunkName, rangeStart, rangeEnd, compressed, sizeBytes }) =>
        `${rangeStart} to ${rangeEnd} · ${size(sizeBytes)}${compressed ? ' · compressed' : ''} · ${chunkName}`,
    )
    .join('\n');

/** Bytes for people. */
export const size = (bytes: number): string =>
  bytes < 10_240
    ? `${bytes} B`
    : bytes < 10_485_760
      ? `${Math.round(bytes / 1_024)} KiB`
      : `${Math.round(bytes / 1_048_576)} MiB`;
