/**
 * Checks whether a history of one register could come from a register that does one operation after another, with the
 * algorithm of Wing & Gong and Lowe's memory (as Knossos and Porcupine do). It knows nothing of revisions: only which
 * client did what, from when to when, and which value it saw.
 *
 * The values of writes are unique. Two kinds of reads differ in how new they must be:
 * - `latest`: takes effect between its own beginning and end, as a write does (linearisable)
 * - `own`: can return an older value, but none older than the client's own last acknowledged write, or than what the
 *   client has read before (read your writes, monotonic reads)
 */
export interface RegisterWrite {
  readonly id: number;
  readonly client: string;
  readonly kind: 'write';
  readonly value: number;
  readonly invoked: number;
  /** Undefined if it is unknown whether it took effect: it can, at any time after its beginning, or never. */
  readonly ended: number | undefined;
}

export interface RegisterRead {
  readonly id: number;
  readonly client: string;
  readonly kind: 'latest' | 'own';
  readonly value: number;
  readonly invoked: number;
  readonly ended: number;
}

export type RegisterOperation = RegisterWrite | RegisterRead;

export type RegisterVerdict =
  | {
      readonly linearizable: true;
      /** The ids in an order in which a register could have done them. */
      readonly order: readonly number[];
    }
  | {
      readonly linearizable: false;
      /** The longest order that was found, and what did not fit after it. */
      readonly longest: readonly number[];
      readonly stuck: readonly RegisterOperation[];
    };

interface Node {
  readonly operation: RegisterOperation;
  /** The time from which it can take effect, and the time by which it must have. */
  readonly start: number;
  readonly end: number;
  /** Indices of operations that must have taken effect before, besides those that had ended before its start. */
  readonly after: readonly number[];
}

/** One step of the search: the reads that were answered, and the write that is tried. */
interface Step {
  readonly reads: readonly number[];
  readonly choices: readonly number[];
  next: number;
  readonly value: number;
}

export function checkRegister(operations: readonly RegisterOperation[], initial: number): RegisterVerdict {
  const nodes = nodesOf(operations);
  const isDone = new Uint8Array(nodes.length);
  const byEnd = nodes.map((_, i) => i).sort((a, b) => end(a) - end(b));
  const rank = new Uint32Array(nodes.length);
  for (const [place, i] of byEnd.entries()) rank[i] = place;
  // The first remaining one, in the order of beginnings and in that of ends.
  let firstOpen = 0;
  let firstToEnd = 0;
  const readsLeft = new Map<number, number>();
  for (const { operation } of nodes) if (operation.kind !== 'write') count(readsLeft, operation.value, 1);
  // Those of unknown outcome come last, and can stay open forever.
  const known = nodes.filter(({ end }) => end < Infinity).length;
  let left = known;
  let value = initial;
  const order: number[] = [];
  let longest: number[] = [];
  const seen = new Set<string>();
  const steps: Step[] = [];

  function end(i: number): number {
    return (nodes[i] as Node).end;
  }
  const mark = (i: number): void => {
    isDone[i] = 1;
    order.push(i);
    while (firstOpen < known && isDone[firstOpen] === 1) firstOpen++;
    while (firstToEnd < byEnd.length && isDone[byEnd[firstToEnd] as number] === 1) firstToEnd++;
    if (end(i) < Infinity) left--;
    const { operation } = nodes[i] as Node;
    if (operation.kind === 'write') value = operation.value;
    else count(readsLeft, operation.value, -1);
  };
  const unmark = (i: number): void => {
    isDone[i] = 0;
    order.pop();
    firstOpen = Math.min(firstOpen, i, known);
    firstToEnd = Math.min(firstToEnd, rank[i] as number);
    if (end(i) < Infinity) left++;
    const { operation } = nodes[i] as Node;
    if (operation.kind !== 'write') count(readsLeft, operation.value, 1);
  };
  /** What can take effect next: no remaining operation has ended before it began. */
  const candidates = (): number[] => {
    const first = byEnd[firstToEnd];
    const bound = first === undefined ? Infinity : end(first);
    const found: number[] = [];
    const take = (from: number, to: number) => {
      for (let i = from; i < to && (nodes[i] as Node).start <= bound; i++)
        if (!isDone[i] && (nodes[i] as Node).after.every((before) => isDone[before])) found.push(i);
    };
    take(firstOpen, known);
    take(known, nodes.length);
    return found;
  };

  for (;;) {
    // A read that fits now can be answered now: it changes nothing, and makes nothing harder.
    const reads: number[] = [];
    for (let isMore = true; isMore;) {
      isMore = false;
      for (const i of candidates()) {
        const { operation } = nodes[i] as Node;
        if (operation.kind === 'write' || operation.value !== value) continue;
        mark(i);
        reads.push(i);
        isMore = true;
      }
    }
    if (order.length > longest.length) longest = [...order];
    if (left === 0) return { linearizable: true, order: order.map((i) => idOf(nodes, i)) };
    const state = `${value} ${stateOf(isDone, firstOpen)}`;
    // Values are unique: once this one is overwritten, it cannot be read again.
    const isDeadEnd = (readsLeft.get(value) ?? 0) > 0 || seen.has(state);
    seen.add(state);
    const choices = isDeadEnd
      ? []
      : candidates()
          .filter((i) => (nodes[i] as Node).operation.kind === 'write')
          // First try one that must take effect soon, then those that never have to.
          .sort((a, b) => end(a) - end(b));
    steps.push({ reads, choices, next: 0, value });
    for (;;) {
      const step = steps.at(-1);
      if (!step) {
        return {
          linearizable: false,
          longest: longest.map((i) => idOf(nodes, i)),
          stuck: stuckAfter(nodes, longest, initial),
        };
      }
      const choice = step.choices[step.next++];
      if (choice !== undefined) {
        mark(choice);
        break;
      }
      for (const i of [...step.reads].reverse()) unmark(i);
      steps.pop();
      // The write that led here.
      const parent = steps.at(-1);
      if (parent) {
        unmark(parent.choices[parent.next - 1] as number);
        value = parent.value;
      }
    }
  }
}

function nodesOf(operations: readonly RegisterOperation[]): Node[] {
  // In the order of their beginning, each client's one after another.
  const sorted = [...operations].sort((a, b) => a.invoked - b.invoked);
  const lastWrite = new Map<string, RegisterOperation>();
  const lastRead = new Map<string, RegisterOperation>();
  const made = sorted.map((operation) => {
    const own = lastWrite.get(operation.client);
    const seen = lastRead.get(operation.client);
    if (operation.kind === 'write') {
      if (operation.ended !== undefined) lastWrite.set(operation.client, operation);
      return { operation, start: operation.invoked, end: operation.ended ?? Infinity, after: [] };
    }
    lastRead.set(operation.client, operation);
    if (operation.kind === 'latest')
      return { operation, start: operation.invoked, end: operation.ended, after: [] };
    return {
      operation,
      start: own?.invoked ?? -Infinity,
      end: operation.ended,
      after: [own, seen].filter((before) => before !== undefined),
    };
  });
  const isUnknown = ({ end }: (typeof made)[number]): number => (end === Infinity ? 1 : 0);
  const nodes = made.sort((a, b) => isUnknown(a) - isUnknown(b) || a.start - b.start);
  const index = new Map(nodes.map(({ operation }, i) => [operation, i]));
  return nodes.map((node) => ({
    ...node,
    after: node.after.map((before) => index.get(before) as number),
  }));
}

const idOf = (nodes: readonly Node[], i: number): number => (nodes[i] as Node).operation.id;

function count(of: Map<number, number>, value: number, by: number): void {
  of.set(value, (of.get(value) ?? 0) + by);
}

/** Which operations are done, as text: all before `firstOpen`, and which after it. */
function stateOf(isDone: Uint8Array, firstOpen: number): string {
  let text = String(firstOpen);
  for (let i = isDone.indexOf(1, firstOpen); i >= 0; i = isDone.indexOf(1, i + 1)) text += `,${i}`;
  return text;
}

/** Reads of a value that must be overwritten before they began; otherwise everything that could not come next. */
function stuckAfter(
  nodes: readonly Node[],
  longest: readonly number[],
  initial: number,
): RegisterOperation[] {
  const done = new Set(longest);
  const open = nodes.filter((_, i) => !done.has(i));
  const writes = longest.map((i) => (nodes[i] as Node).operation).filter(({ kind }) => kind === 'write');
  const value = writes.at(-1)?.value ?? initial;
  const late = open.filter(({ operation }) => operation.kind !== 'write' && operation.value === value);
  const bound = Math.min(...open.map(({ end }) => end));
  return (late.length > 0 ? late : open.filter(({ start }) => start <= bound)).map(
    ({ operation }) => operation,
  );
}
