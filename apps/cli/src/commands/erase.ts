import { Argument, Command } from 'commander';
import { CommandBus } from '@nestjs/cqrs';
import { RunningContexts, type StreamCommand } from '#lib/waylog';
import type { Appended } from '#lib/event-store';
import { contexts } from '../../../contexts.js';
import { operator, print, UsageError, withWaylog } from '../context.js';

/** How long the tables can take to follow. */
const PATIENCE_MS = 60_000;

const erasures = new Map(
  contexts
    .flatMap((context) => context.erasures)
    .map((slice) => [slice.stream.category.name, slice] as const),
);

/** What is erased of each kind of thing, from what is known of its events. */
const sealed = [...erasures].map(([name, { stream }]) => {
  const fields = Object.values(stream.events?.sensitive ?? {}).flatMap((of) => Object.keys(of));
  return `of a ${name}: ${[...new Set(fields)].join(', ')}`;
});

export function eraseCommand(): Command {
  return new Command('erase')
    .description(
      'Erase what is personal or sensitive of a thing, in the tables and in every event, for good.',
    )
    .addArgument(new Argument('<what>', 'the kind of thing').choices([...erasures.keys()]))
    .argument('<id>', 'its id; it may have been deleted before')
    .option('--yes', 'do it: nothing brings it back')
    .addHelpText(
      'after',
      `
Erased are, ${sealed.join('; ')}. These fields are sealed in the log with a key of the thing, and the key is deleted: the
events and their hashes stay as they were recorded, and \`waylog verify --audit\` still holds. All other fields stay. That it
was erased, when, and by whom, is an event. The thing can be read and deleted afterwards, and not be changed.

Backups from before still hold the key: it is erased from them when they are gone. After restoring one, erase again.

Example
  waylog erase flight fjord-1 --yes`,
    )
    .action(async (what: string, id: string, { yes = false }: { yes?: boolean }, command: Command) => {
      const slice = erasures.get(what);
      if (!slice) throw new UsageError(`Nothing is erased of a ${what}.`);
      if (!yes)
        throw new UsageError(`Nothing brings back what is erased of ${what} ${id}. Say --yes to do it.`);
      const { category, key } = slice.stream;
      const Erase = slice.command as new (fields: object) => StreamCommand;
      const result = await withWaylog(command, async (app) => {
        const erasure = new Erase({ [key]: id, actor: operator() });
        const erased = await app.get(CommandBus).execute<StreamCommand, Appended>(erasure);
        const { watch } = app.get(RunningContexts).ofStream(slice.stream);
        await watch.waitFor(erased.position, PATIENCE_MS);
        // The rows of a parked stream stay as they were: the operator must know.
        await watch.refuseParked(category.streamOf(id), erased.position);
        return erased;
      });
      print(
        command,
        result,
        `erased ${what} ${id}: its key is deleted, and the tables are at position ${result.position}`,
      );
    });
}
