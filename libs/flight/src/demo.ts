import { Logger, type INestApplicationContext } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import { messageOf } from '#lib/platform';
import type { Demo } from '#lib/waylog';
import { playFlight } from './simulation/play.js';
import { simulateFlight } from './simulation/simulate-flight.js';

/** Ten minutes of flight at two frames a second. */
const DEMO_FRAMES = 1_200;

/** Starts to record a simulated flight in real time, through the command bus; resolves once the flight exists. */
async function recordDemoFlight(app: INestApplicationContext): Promise<string> {
  const commands = app.get(CommandBus);
  const startedAt = new Date();
  const flightId = `demo-${startedAt.toISOString().slice(0, 19).replaceAll(':', '')}`;
  const steps = simulateFlight({
    flightId,
    seed: Math.floor(startedAt.getTime() / 1_000),
    frames: DEMO_FRAMES,
    startedAt,
    name: `Demo flight of ${startedAt.toISOString().slice(0, 16).replace('T', ' ')}`,
  });
  await new Promise<void>((resolve, reject) => {
    playFlight(steps, (command) => commands.execute(command), { speed: 1, onProgress: () => resolve() }).then(
      () => new Logger('Demo').log(`Flight ${flightId} is complete`),
      (error: unknown) => {
        new Logger('Demo').warn(`The demo flight ended early: ${messageOf(error)}`);
        reject(error instanceof Error ? error : new Error(messageOf(error)));
      },
    );
  });
  return flightId;
}

export const flightDemo: Demo = {
  start: async (app) => ({
    what: 'A demo flight is being recorded',
    path: `/v1/flights/${await recordDemoFlight(app)}`,
  }),
};
