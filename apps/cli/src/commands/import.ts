import { basename } from 'node:path';
import { CommandBus } from '@nestjs/cqrs';
import { Command } from 'commander';
import type { EventStore, Position } from '#lib/event-store';
import {
  EVENT_STORE,
  flightIdOfFile,
  readUlog,
  ulogCommands,
  type FlightCommand,
  type UlogFlight,
} from '#lib/flight';
import { conflict, WaylogError } from '#lib/platform';
import { CheckpointWatch } from '#lib/projections';
import { operator, print, progress, withWaylog } from '../context.js';
import { withProgress } from '../progress-bar.js';

interface Options {
  readonly rate: number;
  readonly waypointEvery?: number;
  readonly id?: string;
  readonly name?: string;
}

export function importCommand(): Command {
  return new Command('import')
    .description('Record a PX4 flight log (.ulg) as a flight, through the command bus.')
    .argument('<file>', 'the log')
    .option('--rate <n>', 'frames a second', Number, 2)
    .option('--waypoint-every <n>', 'a waypoint every so many positions, when the log has no mission', Number)
    .option('--id <id>', 'id of the flight; without it one that follows from the content of the file')
    .option('--name <name>', 'name of the flight; without it that of the file')
    .addHelpText(
      'after',
      `
Importing a file again, also after an import that was cut off, records only what is missing.`,
    )
    .action(async (file: string, options: Options, command: Command) => {
      const flight = await readUlog(file, {
        rate: options.rate,
        ...(options.waypointEvery !== undefined && { waypointEvery: options.waypointEvery }),
      });
      for (const warning of flight.report.warnings) progress(`note: ${warning}`);
      const flightId = options.id ?? (await flightIdOfFile(file));
      const recorded = await withWaylog(command, async (app) => {
        const { beginning } = app.get<EventStore>(EVENT_STORE);
        const commands = [
          ...ulogCommands(flight, { flightId, name: options.name ?? basename(file), actor: operator() }),
        ];
        const done = await record(app.get(CommandBus), commands, flightId, beginning);
        await app.get(CheckpointWatch).waitFor(done.position, 60_000);
        return done;
      });
      print(command, { flightId, ...recorded, report: flight.report }, summary(flightId, flight));
    });
}

async function record(
  bus: CommandBus,
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
