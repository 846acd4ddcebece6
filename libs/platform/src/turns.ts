import { setImmediate } from 'node:timers/promises';

/** How long one piece of work goes on before others get a turn, in milliseconds. */
const TURN_MS = 8;

/** What somebody asks between two steps of long work: whether others have waited long enough, and then lets them. */
export class Turns {
  #began = performance.now();

  get isOver(): boolean {
    return performance.now() - this.#began >= TURN_MS;
  }

  async next(): Promise<void> {
    await setImmediate();
    this.#began = performance.now();
  }
}

/** Array.map for what takes long in all and not by itself: others get their turns in between. */
export async function mapInTurns<T, R>(items: readonly T[], map: (item: T) => R): Promise<R[]> {
  const mapped: R[] = [];
  const turns = new Turns();
  for (const item of items) {
    mapped.push(map(item));
    if (turns.isOver) await turns.next();
  }
  return mapped;
}
