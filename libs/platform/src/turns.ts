/** How long one piece of work goes on before others get a turn, in milliseconds. */
const TURN_MS = 8;

/** Who waits to go on with long work, in order: what sets memory free when it is done, and everything else. */
const ending: (() => void)[] = [];
const others: (() => void)[] = [];
/** Of so many turns one is for the others, whatever ends. */
const ONE_FOR_OTHERS = 4;
let turn = 0;

/**
 * Lets others go on. Long works that wait for their next turn get it one after another, each after a look at what has arrived:
 * by `setImmediate` alone, all of them would go on before it, and with 40 of them nobody else for 40 turns. What is `ending` goes
 * first, so that what was read is written before more is read.
 */
export function nextTurn(isEnding = false): Promise<void> {
  return new Promise((resolve) => {
    (isEnding ? ending : others).push(resolve);
    if (ending.length + others.length === 1) setImmediate(goOn);
  });
}

function goOn(): void {
  const [first, second] = ++turn % ONE_FOR_OTHERS === 0 ? [others, ending] : [ending, others];
  (first.shift() ?? second.shift())?.();
  if (ending.length + others.length > 0) setImmediate(goOn);
}

/** What somebody asks between two steps of long work: whether others have waited long enough, and then lets them. */
export class Turns {
  #began = performance.now();

  constructor(private readonly isEnding = false) {}

  get isOver(): boolean {
    return performance.now() - this.#began >= TURN_MS;
  }

  async next(): Promise<void> {
    await nextTurn(this.isEnding);
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
