import { Command } from 'commander';
import type { EventStore } from '#lib/event-store';
import { EVENT_STORE, FLIGHT_PROJECTOR, flightProjections } from '#lib/flight';
import { discardRebuild, rebuild, type RebuildResult } from '#lib/projections';
import { print, progress, projectionsNamed, untilInterrupted, withOperations } from '../context.js';
import { withProgress } from '../progress-bar.js';

export function rebuildCommand(): Command {
  return new Command('rebuild')
    .description(
      'Make tables anew from the log, beside the live ones, and put them in their place. Reads and writes go on meanwhile.',
    )
    .argument(
      '[projections...]',
      `which: ${flightProjections.map(({ name }) => name).join(', ')}; all of them when none is named`,
    )
    .option('--discard', 'clear away what a rebuild that was cut off has made, instead of going on with it')
    .addHelpText(
      'after',
      `
The log is read once for all the tables that are named. A rebuild that is interrupted (Ctrl-C, a kill, a crash) leaves the
live tables as they were; the same command goes on where it stopped. The tables take their places together, in one
transaction, at exactly the position to which the projector has come: no reader sees a gap.

Examples
  waylog rebuild                        all tables
  waylog rebuild waypoints geofences    two of them
  waylog rebuild waypoints --discard    give up one that was cut off`,
    )
    .action(async (wanted: string[], { discard }: { discard?: boolean }, command: Command) => {
      const projections = projectionsNamed(wanted);
      await withOperations(command, async (app, connectionString) => {
        const options = {
          projector: FLIGHT_PROJECTOR,
          projections,
          store: app.get<EventStore>(EVENT_STORE),
          connectionString,
        };
        if (discard) {
          await discardRebuild(options);
          print(command, { discarded: projections.map(({ name }) => name) }, 'cleared away');
          return;
        }
        const result = await untilInterrupted((signal) =>
          withProgress('rebuilding', 1, (update) =>
            rebuild({ ...options, signal, onProgress: (events, total) => update(events, total) }),
          ),
        );
        if (result.resumedFrom > 0)
          progress(`went on after the ${result.resumedFrom} events of a rebuild that was cut off`);
        print(command, result, linesOf(result).join('\n'));
      });
    });
}

const linesOf = ({ tables, events }: RebuildResult): string[] =>
  tables.map(
    ({ projection, live, rebuilt, identical }) =>
      `${projection.padEnd(15)} replaced · ${events} events · ${rebuilt.rows} rows · ` +
      (identical
        ? 'identical'
        : `DIFFERENT: the live table had ${live.rows} rows, hash ${live.hash}, not ${rebuilt.hash}`),
  );
