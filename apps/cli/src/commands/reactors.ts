import { counted } from '#lib/platform';
import { Command } from 'commander';
import { RunningReactors } from '#lib/waylog';
import type { ReactorStatus, WaitingReaction } from '#lib/reactors';
import { operator, print, withOperations } from '../context.js';
import { table } from '../table.js';

interface DiscardOptions {
  readonly key?: string;
  readonly reason: string;
}

export function reactorsCommand(): Command {
  const reactors = new Command('reactors')
    .description(
      'What is done in answer to events, and at deadlines: list, pause, resume, reset, retry, discard, forget.',
    )
    .addHelpText(
      'after',
      `
A reactor sends commands in answer to events; a deadline sends one at a time, unless something has happened. One process runs
each. What fails is tried again with growing waits, and finally parked: then it waits for you. Other streams go on.`,
    );
  reactors
    .command('list', { isDefault: true })
    .description('state and lag of every reactor and deadline, and how much waits')
    .action(async (_options, command: Command) => {
      const states = await withOperations(command, (app) => app.get(RunningReactors).states());
      print(command, { reactors: states }, describe(states));
    });
  reactors
    .command('waiting')
    .description('what failed and is tried again, or is parked, and why')
    .argument('[reactor]', 'which; all of them without it')
    .action(async (name: string | undefined, _options, command: Command) => {
      const waiting = await withOperations(command, (app) => app.get(RunningReactors).waiting(name));
      print(command, { waiting }, waiting.length > 0 ? waiting.map(lineOf).join('\n') : 'nothing waits');
    });
  reactors
    .command('pause')
    .description(
      'stop one within a second, in whichever process it runs; what it would do is done after `resume`',
    )
    .argument('<reactor>', 'a reactor or a deadline')
    .requiredOption('--reason <text>', 'why, for the person who finds it paused')
    .action(async (name: string, { reason }: { reason: string }, command: Command) => {
      await withOperations(command, (app) =>
        app.get(RunningReactors).pause(name, { reason, by: operator() }),
      );
      print(
        command,
        { paused: name },
        `paused: ${name} does nothing until \`waylog reactors resume ${name}\``,
      );
    });
  reactors
    .command('resume')
    .description('let a paused one go on')
    .argument('<reactor>', 'a reactor or a deadline')
    .action(async (name: string, _options, command: Command) => {
      await withOperations(command, (app) => app.get(RunningReactors).resume(name));
      print(command, { resumed: name }, `resumed: ${name}`);
    });
  reactors
    .command('reset')
    .description('move a reactor to a position of the log: it acts on all that comes after it')
    .argument('<reactor>', 'a reactor')
    .requiredOption('--to <position>', 'a position, such as an event shows; or beginning; or end')
    .addHelpText(
      'after',
      `
Moved back, it acts again on what it has acted on. Commands that it has sent for an event are not carried out again, as their
ids come of the event; anything else that it does outside is done again. Moved forward, it passes over what comes before.`,
    )
    .action(async (name: string, { to }: { to: string }, command: Command) => {
      const state = await withOperations(command, async (app) => {
        const running = app.get(RunningReactors);
        await running.reset(name, to);
        return (await running.states()).find((one) => one.name === name);
      });
      print(
        command,
        { ...state },
        `reset: ${name} acts on what comes after position ${state?.position ?? to}`,
      );
    });
  reactors
    .command('retry')
    .description('try again within a second what waits or is parked')
    .argument('<reactor>', 'a reactor or a deadline')
    .argument('[of]', 'the stream, or the thing with the deadline; all that waits without it')
    .action(async (name: string, of: string | undefined, _options, command: Command) => {
      const retried = await withOperations(command, (app) => app.get(RunningReactors).retry(name, of));
      print(command, { retried }, `${retried} to be tried by the process that runs ${name}`);
    });
  reactors
    .command('discard')
    .description('leave out what failed, for good, and go on with what comes after it')
    .argument('<reactor>', 'a reactor or a deadline')
    .argument('<of>', 'the stream, or the thing with the deadline')
    .option('--key <key>', 'one deadline of the thing, as `waiting` shows it; all of them without it')
    .requiredOption('--reason <text>', 'why, for the person who looks for what was not done')
    .action(async (name: string, of: string, { key, reason }: DiscardOptions, command: Command) => {
      await withOperations(command, (app) =>
        app.get(RunningReactors).discard(name, of, { key, reason, by: operator() }),
      );
      print(command, { discarded: of, key }, `${of}${key ? ` (${key})` : ''}: discarded, for good`);
    });
  reactors
    .command('forget')
    .description('drop the place of a reactor that is gone from the code, and what waits for it')
    .argument('<reactor>', 'a reactor or a deadline that no context has any more; `waylog doctor` names them')
    .action(async (name: string, _options, command: Command) => {
      const waited = await withOperations(command, (app) => app.get(RunningReactors).forget(name));
      print(
        command,
        { forgotten: name, waited },
        `forgotten: ${name}${waited > 0 ? `, and ${counted(waited, 'thing')} that waited for it` : ''}`,
      );
    });
  return reactors;
}

function describe(states: readonly ReactorStatus[]): string {
  if (states.length === 0) return 'no context of this build has reactors or deadlines';
  const lines = [
    table(
      ['name', 'kind', 'state', 'position', 'lag', 'oldest', 'waiting', 'parked'],
      states.map((one) => [
        one.name,
        one.kind,
        one.state,
        one.position ?? '',
        String(one.lagEvents),
        `${one.lagSeconds.toFixed(1)} s`,
        String(one.waiting),
        String(one.parked),
      ]),
    ),
  ];
  for (const one of states) {
    if (one.leader) lines.push(`${one.name}: run by ${one.leader}`);
    if (one.isOfOtherLog)
      lines.push(
        `${one.name}: its position is one of another log: \`waylog reactors reset ${one.name} --to POSITION\``,
      );
    if (one.lastError) lines.push(`${one.name}: last error, ${one.lastErrorAt ?? ''}: ${one.lastError}`);
    if (one.pausedSince)
      lines.push(
        `${one.name}: paused since ${one.pausedSince} by ${one.pausedBy ?? ''}: ${one.pauseReason ?? ''}`,
      );
  }
  if (states.some(({ waiting, parked }) => waiting + parked > 0))
    lines.push('some of it has failed: see `waylog reactors waiting`');
  return lines.join('\n');
}

const lineOf = (one: WaitingReaction): string =>
  `${one.reactor}: ${one.of}${one.key ? ` (${one.key})` : ''}: ` +
  (one.dueAt ? `due ${one.dueAt}` : `${one.type ?? ''} at revision ${one.revision}`) +
  `: ${one.error}\n  ` +
  (one.nextAttemptAt
    ? `failed ${counted(one.attempts, 'time')}, tried again at ${one.nextAttemptAt}`
    : `PARKED after ${counted(one.attempts, 'attempt')}, the last ${one.lastAttemptAt}`);
