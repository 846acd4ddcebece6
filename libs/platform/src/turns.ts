/** How long one piece of work runs before other work gets a turn, in milliseconds. */
const TURN_MS = 8;

/** Queues of long work that waits to continue, in order: work that frees memory when done, and all other work. */
const ending: (() => void)[] = [];
const others: (() => void)[] = [];
/** One in this many turns is for the others, whatever is ending. */
const ONE_FOR_OTHERS = 4;
let turn = 0;

/**
 * Lets other work run. Long tasks get their next turn one after another, each after new input was processed. With
 * `setImmediate` alone, all of them would continue first, and with 40 of them other work would wait for 40 turns. Work
 * marked `ending` goes first, so that what was read is written before more is read.
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

/** Called between two steps of long work: lets other work run if it has waited long enough. */
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

/** Array.map for work that takes long in all but not for each item: other work runs in between. */
export async function mapInTurns<T, R>(items: readonly T[], map: (item: T) => R): Promise<R[]> {
  const mapped: R[] = [];
  const turns = new Turns();
  for (const item of items) {
    mapped.push(map(item));
    if (turns.isOver) await turns.next();
  }
  return mapped;
}
