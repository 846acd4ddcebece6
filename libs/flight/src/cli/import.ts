import { basename } from 'node:path';
import { CommandBus } from '@nestjs/cqrs';
import { Command } from 'commander';
import type { EventStore, Position } from '#lib/event-store';
import { conflict, WaylogError } from '#lib/platform';
import { EVENT_STORE, RunningContexts, type CliTools } from '#lib/waylog';
import type { FlightCommand } from '../command.js';
import {
  datedAsBefore,
  earlierImport,
  flightIdOfFile,
  isBegunBy,
  readUlog,
  ulogCommands,
  type UlogFlight,
} from '../ulog/index.js';

interface Options {
  readonly rate: number;
  readonly waypointEvery?: number;
  readonly id?: string;
  readonly name?: string;
}

export function importCommand({ operator, print, say, withProgress, withWaylog }: CliTools): Command {
  return new Command('import')
    .description('Record a PX4 flight log (.ulg) as a flight, through the command bus.')
    .argument('<file>', 'the log')
    .option('--rate <n>', 'frames a second', Number, 2)
    .option(
      '--waypoint-every <n>',
      'every n-th frame becomes a waypoint, even where the log has a mission; without it the points of the mission, else about 80 frames',
      Number,
    )
    .option('--id <id>', 'id of the flight; without it one that follows from the content of the file')
    .option('--name <name>', 'name of the flight; without it that of the file')
    .addHelpText(
      'after',
      `
Times of day are those of the log: of its GPS, else of boot_time_utc_us, else of the name that PX4 gave it. A log without
any is dated by its path, such as log/2026-04-11/04_29_40.ulg, else by the time when the file was last modified. The result
says which it was.

Importing a file again, or a copy of it, also after an import that was cut off, records only what is missing.`,
    )
    .action(async (file: string, options: Options, command: Command) => {
      const read = await readUlog(file, {
        rate: options.rate,
        ...(options.waypointEvery !== undefined && { waypointEvery: options.waypointEvery }),
      });
      const flightId = options.id ?? (await flightIdOfFile(file));
      const { flight, ...recorded } = await withWaylog(command, async (app) => {
        const store = app.get<EventStore>(EVENT_STORE);
        const earlier = await earlierImport(store, flightId);
        const flight = datedAsBefore(read, flightId, earlier);
        for (const warning of flight.report.warnings) say(`note: ${warning}`);
        if (isBegunBy(flight, flightId, earlier))
          say('note: An earlier import made this flight: its name stays, and what is missing is recorded.');
        const commands = [
          ...ulogCommands(flight, {
            flightId,
            name: options.name ?? basename(file),
            actor: operator(),
            earlier,
          }),
        ];
        const done = await record(app.get(CommandBus), withProgress, commands, flightId, store.beginning);
        await app.get(RunningContexts).waitFor(done.position, 60_000);
        return { ...done, flight };
      });
      print(command, { flightId, ...recorded, report: flight.report }, summary(flightId, flight));
    });
}

async function record(
  bus: CommandBus,
  withProgress: CliTools['withProgress'],
  commands: readonly FlightCommand[],
  flightId: string,
  beginning: Position,
) {
  let last = { revision: -1, position: beginning };
  try {
    await withProgress('recording', commands.length, async (update) => {
      for (const [i, command] of commands.entries()) {
        last = await bus.execute(command);
        update(i + 1);
      }
    });
  } catch (error) {
    if (!(error instanceof WaylogError) || error.code !== 'flight.already-exists') throw error;
    throw conflict(
      'import.flight-differs',
      `Flight ${flightId} is there already and was recorded with other options or from another log. ` +
        `Give this import a flight of its own with --id.`,
      { flightId },
    );
  }
  return { revision: last.revision, position: last.position };
}

const summary = (
  flightId: string,
  { frames, waypoints, start, startedAt, durationSeconds, report }: UlogFlight,
): string =>
  [
    `flight      ${flightId}`,
    `began       ${startedAt} at ${start.lat.toFixed(6)}, ${start.lon.toFixed(6)}, ${start.altitude.toFixed(1)} m`,
    `duration    ${durationSeconds.toFixed(1)} s`,
    `frames      ${frames.length}`,
    `waypoints   ${waypoints.length}`,
    ...Object.entries(report.sources).map(([what, source]) => `${what.padEnd(11)} ${source}`),
  ].join('\n');
