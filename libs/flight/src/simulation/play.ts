import { setTimeout as sleep } from 'node:timers/promises';
import type { CommandResult, FlightCommand } from '../command.js';
import type { SimulationStep } from './simulate-flight.js';

export interface PlayOptions {
  /** How many times faster than the flight; Infinity for as fast as possible. */
  readonly speed: number;
  readonly signal?: AbortSignal;
  /** Called after each step with the number of answered commands. */
  readonly onProgress?: (commands: number) => void;
}

/** Sends the steps of a simulation at their times; the commands of one step are sent together. Returns their number. */
export async function playFlight(
  steps: Iterable<SimulationStep>,
  execute: (command: FlightCommand) => Promise<CommandResult>,
  { speed, signal, onProgress }: PlayOptions,
): Promise<number> {
  const began = performance.now();
  let answered = 0;
  for (const { atSeconds, commands } of steps) {
    const wait = (atSeconds * 1_000) / speed - (performance.now() - began);
    if (wait > 0) await sleep(wait, undefined, { ...(signal && { signal }) });
    signal?.throwIfAborted();
    await Promise.all(commands.map(execute));
    answered += commands.length;
    onProgress?.(answered);
  }
  return answered;
}
