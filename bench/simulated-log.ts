import { playFlight, simulateFlight } from '#lib/flight';
import type { InProcess } from './bench.js';

/** How many flights send commands at the same time. */
const AT_ONCE = 64;

/**
 * Fills the log with simulated flights through their commands, some four events per frame; returns the number of events
 * in the log.
 */
export async function simulateFlights(
  { execute, store }: InProcess,
  flights: readonly string[],
  framesEach: number,
): Promise<number> {
  let next = 0;
  const fly = async () => {
    for (let n = next++; n < flights.length; n = next++) {
      const steps = simulateFlight({ flightId: flights[n] as string, seed: n + 1, frames: framesEach });
      await playFlight(steps, execute, { speed: Infinity });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, fly));
  return (await store.backlog(store.beginning)).events;
}
