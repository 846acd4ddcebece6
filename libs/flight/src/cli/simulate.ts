import { CommandBus } from '@nestjs/cqrs';
import { Command } from 'commander';
import type { EventStore } from '#lib/event-store';
import { counted } from '#lib/platform';
import { EVENT_STORE, RunningContexts, UsageError, type CliTools } from '#lib/waylog';
import { playFlight } from '../simulation/play.js';
import { simulateFlight } from '../simulation/simulate-flight.js';

/** The longest that the tables can take to follow. */
const TABLES_MS = 10 * 60_000;

interface Options {
  readonly frames: number;
  readonly flights: number;
  readonly seed: number;
  readonly rate: number;
  readonly speed?: number;
  readonly id?: string;
}

export function simulateCommand({ print, withProgress, withWaylog }: CliTools): Command {
  return new Command('simulate')
    .description(
      'Record flights that never happened: frames that drift, refinements that come late, route chunks that merge.',
    )
    .option('--frames <n>', 'frames of each flight', Number, 500)
    .option('--flights <n>', 'flights at the same time', Number, 1)
    .option('--seed <n>', 'the same seed makes the same flight', Number, 1)
    .option('--rate <n>', 'frames a second of flight', Number, 2)
    .option(
      '--speed <n>',
      'times faster than the flight, 1 for real time; without it as fast as it goes',
      Number,
    )
    .option('--id <id>', 'id of the flight (with several: its beginning)')
    .action(async (options: Options, command: Command) => {
      for (const [name, max] of [
        ['frames', 1_000_000],
        ['flights', 10_000],
      ] as const) {
        if (!(Number.isInteger(options[name]) && options[name] >= 1 && options[name] <= max)) {
          throw new UsageError(`--${name} takes a whole number from 1 to ${max}.`);
        }
      }
      if (!(options.rate > 0 && options.rate <= 1_000))
        throw new UsageError('--rate takes a number above 0, up to 1000.');
      if (options.speed !== undefined && !(options.speed > 0))
        throw new UsageError('--speed takes a number above 0.');
      if (!Number.isInteger(options.seed)) throw new UsageError('--seed takes a whole number.');
      const result = await withWaylog(command, async (app) => {
        const done = await simulate(app.get(CommandBus), withProgress, options);
        await app.get(RunningContexts).waitFor(await app.get<EventStore>(EVENT_STORE).head(), TABLES_MS);
        return done;
      });
      const { flightIds, commands, seconds } = result;
      print(
        command,
        result,
        `recorded ${counted(flightIds.length, 'flight')} with ${counted(commands, 'command')} in ${seconds.toFixed(1)} s ` +
          `(${Math.round(commands / seconds)}/s): ${flightIds.slice(0, 5).join(', ')}${flightIds.length > 5 ? ', ...' : ''}`,
      );
    });
}

async function simulate(
  bus: CommandBus,
  withProgress: CliTools['withProgress'],
  { frames, flights, seed, rate, speed = Infinity, id }: Options,
) {
  const prefix = id ?? `simulated-${seed}-${Date.now().toString(36)}`;
  const flightIds = Array.from({ length: flights }, (_, n) =>
    flights === 1 ? prefix : `${prefix}-${n + 1}`,
  );
  const began = performance.now();
  const counts = await withProgress('recording', frames * flights, (update) => {
    let done = 0;
    return Promise.all(
      flightIds.map((flightId, n) =>
        playFlight(
          simulateFlight({ flightId, seed: seed + n, frames, framesPerSecond: rate, startedAt: new Date() }),
          (step) => bus.execute(step),
          { speed, onProgress: () => update(++done) },
        ),
      ),
    );
  });
  const commands = counts.reduce((sum, count) => sum + count, 0);
  return { flightIds, commands, seconds: (performance.now() - began) / 1_000 };
}
