import { counted } from '#lib/platform';
import { Argument, Command } from 'commander';
import type pg from 'pg';
import type { EventStore } from '#lib/event-store';
import {
  EVENT_STORE,
  TABLES_POOL,
  projectorsOf,
  tableNamesOf,
  tablesOf,
  RunningContexts,
  allDiscarded,
  allParked,
  allVerified,
  contextOf,
  isDeclared,
  type Context,
} from '#lib/waylog';
import {
  acceptedText,
  acceptLoss,
  adoptLog,
  closeUndeclared,
  integrityFindings,
  parkedIn,
  pauseProjections,
  resumeProjections,
  unpark,
  whileLeading,
  type ProjectionStatus,
  type UnparkResult,
  type AdoptResult,
} from '#lib/projections';
import {
  operator,
  print,
  untilInterrupted,
  UsageError,
  withDatabase,
  withOperations,
  shownName,
} from '../context.js';
import { withProgress } from '../progress-bar.js';
import { table } from '../table.js';
import { parkedLines } from './rebuild.js';
import { contexts } from '../../../contexts.js';

export function projectionsCommand(): Command {
  const projections = new Command('projections').description(
    'The tables and the projector that keeps them: list, pause, resume, adopt another log.',
  );
  projections
    .command('list', { isDefault: true })
    .description('state, lag and throughput of every table')
    .addHelpText(
      'after',
      `
States: active; catching-up, with a full batch behind it; paused by an operator; stopped, as no server leads the
projector; failed, with an error, and tries again. "stuck" is for how long nothing was folded although there was something.`,
    )
    .action(async (_options, command: Command) => {
      const states = await withOperations(command, (app) =>
        app.get(RunningContexts).states(app.get<pg.Pool>(TABLES_POOL)),
      );
      print(command, { projections: states }, describe(states));
    });
  projections
    .command('pause')
    .description('stop writing tables, in whichever process that happens; commands go on being accepted')
    .addArgument(someContexts())
    .requiredOption('--reason <text>', 'why, for the person who finds it paused')
    .action(async (names: string[], { reason }: { reason: string }, command: Command) => {
      const some = contextsNamed(names);
      await withOperations(command, (app) =>
        pauseProjections(app.get<pg.Pool>(TABLES_POOL), some.flatMap(projectorsOf), {
          reason,
          by: operator(),
        }),
      );
      print(
        command,
        { paused: some.flatMap(tableNamesOf) },
        'paused: nothing is written until `waylog projections resume`. Reads answer from tables that stand still; those that ask for a later position are answered 503.',
      );
    });
  projections
    .command('resume')
    .description('let a paused projector go on')
    .addArgument(someContexts())
    .action(async (names: string[], _options, command: Command) => {
      const some = contextsNamed(names);
      await withOperations(command, (app) =>
        resumeProjections(app.get<pg.Pool>(TABLES_POOL), some.flatMap(projectorsOf)),
      );
      print(command, { resumed: some.flatMap(tableNamesOf) }, 'resumed');
    });
  projections
    .command('adopt')
    .description('rebuild all tables from the log as it is now, even if they were made from another log')
    .addArgument(someContexts())
    .option('--yes', 'yes: rows that only the other log has disappear from the tables')
    .addHelpText(
      'after',
      `
Tables know the log that they are folded from. When EVENT_STORE names another one, a server takes it for theirs by itself
if it holds all that they hold, as after \`waylog log copy\`; otherwise its projector stops and says so, and this command
is for when you mean it. The tables can be read meanwhile and change in one transaction. The logs are only read.

Stop the servers first, or all that have another EVENT_STORE.`,
    )
    .action(async (names: string[], { yes }: { yes?: true }, command: Command) => {
      const some = contextsNamed(names);
      if (!yes)
        throw new UsageError(
          'This replaces all tables with what the log at hand makes. If that is meant, add --yes.',
        );
      const results = await withOperations(command, async (app, connectionString) => {
        const adopted: AdoptResult[] = [];
        for (const context of some)
          adopted.push(
            await whileLeading(connectionString, context.name, () =>
              untilInterrupted((signal) =>
                withProgress('folding', 1, (update) =>
                  adoptLog({
                    ...tablesOf(context, app.get<EventStore>(EVENT_STORE)),
                    connectionString,
                    onlyIfWhole: false,
                    signal,
                    onProgress: update,
                  }),
                ),
              ),
            ),
          );
        return adopted;
      });
      const result = {
        events: results.reduce((sum, { events }) => sum + events, 0),
        streams: results.reduce((sum, { streams }) => sum + streams, 0),
        position: results.at(-1)?.position,
        parked: results.flatMap(({ parked }) => parked),
      };
      print(
        command,
        result,
        [
          ...parkedLines(result.parked),
          `adopted: the tables hold ${counted(result.events, 'event')} of ${counted(result.streams, 'stream')}, up to position ${result.position ?? ''}`,
        ].join('\n'),
      );
      if (result.parked.length > 0) process.exitCode = 1;
    });
  return projections;
}

/** Which contexts; all of them for no name. */
const someContexts = () =>
  new Argument(
    '[contexts...]',
    `which: ${contexts.map(({ name }) => name).join(', ')}; all of them when none is named`,
  ).choices(contexts.map(({ name }) => name));

const contextsNamed = (names: readonly string[]): readonly Context[] =>
  names.length > 0 ? contexts.filter(({ name }) => names.includes(name)) : contexts;

function describe(states: readonly ProjectionStatus[]): string {
  if (states.length === 0) return 'no projector has run on this database yet: start the server once';
  const lines = [
    table(
      ['projection', 'state', 'position', 'lag', 'oldest', 'stuck', 'events/s', 'parked', 'rebuild'],
      states.map((s) => [
        shownName(s),
        s.state,
        s.position,
        String(s.lagEvents),
        `${s.lagSeconds.toFixed(1)} s`,
        `${s.stuckSeconds.toFixed(1)} s`,
        // Slow is not zero.
        s.eventsPerSecond.toFixed(s.eventsPerSecond < 10 ? 1 : 0),
        String(s.parkedStreams),
        s.rebuild
          ? `${((100 * s.rebuild.events) / Math.max(1, s.rebuild.total)).toFixed(0)} % ${s.rebuild.updatedAt}`
          : '',
      ]),
    ),
  ];
  for (const { name } of contexts) {
    // What is said of one table of a projector is said of all.
    const state = states.find(({ projector }) => projector === name);
    const of = contexts.length > 1 ? `${name}: ` : '';
    if (state?.leader) lines.push(`${of}led by ${state.leader}`);
    if (state?.lastError) lines.push(`${of}last error, ${state.lastErrorAt ?? ''}: ${state.lastError}`);
    if (state?.pausedSince)
      lines.push(
        `${of}paused since ${state.pausedSince} by ${state.pausedBy ?? ''}: ${state.pauseReason ?? ''}`,
      );
  }
  if (parkedIn(states) > 0) lines.push('some streams are parked: see `waylog parked list`');
  return lines.join('\n');
}

export function parkedCommand(): Command {
  const parked = new Command('parked')
    .description('Streams whose next event cannot be projected: list, retry, discard, accept.')
    .addHelpText(
      'after',
      `
An event that cannot be folded, or that the table refuses, parks itself and the later events of its stream; all others go
on. Nothing is lost: the events are in the log. After a fix has been deployed, retry. When the event can never be folded,
discard it with a reason: the tables, and every later rebuild, go on without it, and the log keeps it. When the log has
lost events of the stream for good, accept that with a reason.`,
    );
  parked
    .command('list', { isDefault: true })
    .description('what is parked, why, and how many events wait')
    .action(async (_options, command: Command) => {
      const found = await withOperations(command, async (app) => ({
        parked: await allParked(contexts, app.get<pg.Pool>(TABLES_POOL)),
        discarded: await allDiscarded(contexts, app.get<pg.Pool>(TABLES_POOL)),
      }));
      const lines = [
        ...found.parked.map((p) =>
          p.accepted
            ? `${p.streamId}: ${acceptedText(p.accepted)}; ${counted(p.waiting, 'event')} left out`
            : `${p.streamId}: revision ${p.revision} (${p.type}, position ${p.position}) cannot be projected: ${p.error}\n` +
              `  parked ${p.parkedAt}, tried ${p.attempts} times, last ${p.lastAttemptAt}; ${p.waiting} events wait`,
        ),
        ...found.discarded.map(
          (d) =>
            `${d.streamId}: revision ${d.revision} (${d.type}) was discarded ${d.discardedAt} by ${d.discardedBy}: ${d.reason}`,
        ),
      ];
      print(command, found, lines.length > 0 ? lines.join('\n') : 'nothing is parked');
    });
  parked
    .command('retry')
    .description(
      'fold the events of a parked stream again; without a name those of all parked streams that were not accepted',
    )
    .argument('[stream]', 'such as flight-fjord-1')
    .action(async (streamId: string | undefined, _options, command: Command) => {
      const results = await withOperations(command, async (app) => {
        const pool = app.get<pg.Pool>(TABLES_POOL);
        const streams = streamId
          ? [streamId]
          : (await allParked(contexts, pool)).filter(({ accepted }) => !accepted).map((p) => p.streamId);
        const done: UnparkResult[] = [];
        for (const id of streams)
          done.push(await unpark(unparkOptions(app.get<EventStore>(EVENT_STORE), pool, id)));
        return done;
      });
      report(command, results);
    });
  parked
    .command('discard')
    .description('leave out the event that cannot be projected, for good, and go on with the ones after it')
    .argument('<stream>', 'such as flight-fjord-1')
    .requiredOption('--reason <text>', 'why, for the person who looks for the event')
    .action(async (streamId: string, { reason }: { reason: string }, command: Command) => {
      const result = await withOperations(command, (app) =>
        unpark({
          ...unparkOptions(app.get<EventStore>(EVENT_STORE), app.get<pg.Pool>(TABLES_POOL), streamId),
          discard: { reason, by: operator() },
        }),
      );
      report(command, [result]);
    });
  parked
    .command('accept')
    .description(
      'go on for good without the events that the log has lost of a parked stream; nothing warns of it any more',
    )
    .argument('<stream>', 'such as flight-fjord-1')
    .requiredOption('--reason <text>', 'why, for the person who looks for the stream')
    .addHelpText(
      'after',
      `
For a stream whose events others have deleted in EventStoreDB, and of which no backup is left. Its rows stay as they are, and
its later events are left out, now and by every rebuild. \`waylog verify\` and \`waylog doctor\` name it, as no fault. If the
events come back after all: \`waylog parked retry STREAM\`.`,
    )
    .action(async (streamId: string, { reason }: { reason: string }, command: Command) => {
      const { accepted, ...parked } = await withOperations(command, (app) =>
        acceptLoss({
          ...unparkOptions(app.get<EventStore>(EVENT_STORE), app.get<pg.Pool>(TABLES_POOL), streamId),
          reason,
          by: operator(),
        }),
      );
      print(
        command,
        { ...parked, accepted },
        `${streamId}: accepted, its events up to revision ${accepted?.missingTo ?? parked.revision} are gone. The tables keep it as it ` +
          `is; ${counted(parked.waiting, 'event')} left out so far`,
      );
    });
  return parked;
}

function noSuchStream(streamId: string): never {
  const kinds = contexts.flatMap(({ categories }) => categories.map((category) => `${category}-ID`));
  throw new UsageError(`${streamId} is no stream of a context here. They are called ${kinds.join(', ')}.`);
}

const unparkOptions = (store: EventStore, pool: pg.Pool, streamId: string) => ({
  ...tablesOf(contextOf(contexts, streamId) ?? noSuchStream(streamId), store),
  pool,
  streamId,
});

function report(command: Command, results: readonly UnparkResult[]): void {
  const lines = results.map(({ streamId, folded, stillParked }) =>
    stillParked
      ? `${streamId}: STILL PARKED at revision ${stillParked.revision} (${stillParked.type}): ${stillParked.error}; ${counted(folded, 'event')} folded`
      : `${streamId}: ${counted(folded, 'event')} folded, no longer parked`,
  );
  print(command, { results }, lines.length > 0 ? lines.join('\n') : 'nothing is parked');
  if (results.some(({ stillParked }) => stillParked)) process.exitCode = 1;
}

export function integrityCommand(): Command {
  const integrity = new Command('integrity');
  integrity
    .command('close')
    .description('close the open findings of a table or a context that is not declared any more')
    .argument('<name>', 'such as survey, or survey.plots, as the list shows it')
    .action(async (name: string, _options, command: Command) => {
      const [projector = '', projection] = name.split('.');
      const isKnown =
        projection === undefined
          ? contexts.some((one) => one.name === projector)
          : isDeclared(contexts, { projector, projection });
      if (isKnown)
        throw new UsageError(
          `${name} is declared: \`waylog verify\` compares it with the log, and closes what it does not find any more.`,
        );
      const closed = await withDatabase(command, ({ pool }) => closeUndeclared(pool, projector, projection));
      print(command, { closed }, `${counted(closed, 'finding')} of ${name} closed`);
    });
  return integrity
    .description('What verifications have found, and what was repaired.')
    .option('--open', 'only what has not been repaired and is not gone')
    .action(async ({ open = false }: { open?: boolean }, command: Command) => {
      const found = await withOperations(command, async (app) => ({
        findings: await integrityFindings(app.get<pg.Pool>(TABLES_POOL), { open }),
        scheduled: await allVerified(contexts, app.get<pg.Pool>(TABLES_POOL)),
      }));
      const { findings, scheduled } = found;
      const lines = findings.map(
        (f) =>
          `${f.foundAt} ${isDeclared(contexts, f) ? shownName(f) : `${f.projector}.${f.projection}`} ${f.key}: ` +
          `${f.error ?? `${counted(f.rowsFound, 'row')} found, ${f.rowsExpected} expected`} (${f.foundBy})` +
          (f.repairedAt
            ? `; repaired ${f.repairedAt} by ${f.repairedBy ?? ''}`
            : f.goneAt
              ? `; gone ${f.goneAt}`
              : isDeclared(contexts, f)
                ? '; OPEN'
                : `; OPEN, and not declared any more: \`waylog integrity close ${f.projector}.${f.projection}\``),
      );
      if (scheduled) {
        lines.push(
          `scheduled verification: ${counted(scheduled.streams, 'stream')} in this round, since ${scheduled.roundBeganAt}` +
            (scheduled.skipped > 0 ? `, ${scheduled.skipped} too long for it` : '') +
            (scheduled.lastRoundEndedAt
              ? `; the last round, of ${scheduled.lastRoundStreams ?? 0}, ended ${scheduled.lastRoundEndedAt}`
              : ''),
        );
      }
      print(command, found, lines.length > 0 ? lines.join('\n') : 'nothing was found');
    });
}
