import { Command } from 'commander';
import { CommandBus } from '@nestjs/cqrs';
import { EraseFlight, streamOf } from '#lib/flight';
import { operator, print, UsageError, withWaylog } from '../context.js';
import { RunningContexts } from '#lib/waylog';

/** How long the tables can take to follow. */
const PATIENCE_MS = 60_000;

export function eraseCommand(): Command {
  return new Command('erase')
    .description(
      'Erase what is personal or sensitive of a flight, in the tables and in every event, for good.',
    )
    .argument('<flight>', 'its id; it may have been deleted before')
    .option('--yes', 'do it: nothing brings it back')
    .addHelpText(
      'after',
      `
Erased are the name, the description, the camera's parameters, and the paths and metadata of images. They are sealed in the
log with a key of the flight, and the key is deleted: the events and their hashes stay as they were recorded, and
\`waylog verify --audit\` still holds. Positions, headings and times stay. That it was erased, when, and by whom, is an event.
The flight can be read and deleted afterwards, and not be changed.

Backups from before still hold the key: it is erased from them when they are gone. After restoring one, erase again.

Example
  waylog erase fjord-1 --yes`,
    )
    .action(async (flightId: string, { yes = false }: { yes?: boolean }, command: Command) => {
      if (!yes)
        throw new UsageError(`Nothing brings back what is erased of ${flightId}. Say --yes to do it.`);
      const result = await withWaylog(command, async (app) => {
        const erased = await app.get(CommandBus).execute(new EraseFlight({ flightId, actor: operator() }));
        const contexts = app.get(RunningContexts);
        await contexts.waitFor(erased.position, PATIENCE_MS);
        // The rows of a parked flight stay as they were: the operator must know.
        await contexts.refuseParked(streamOf(flightId), erased.position);
        return erased;
      });
      print(
        command,
        result,
        `erased ${flightId}: its key is deleted, and the tables are at position ${result.position}`,
      );
    });
}
