import type { ServerReadableStream, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';

export type Stallable = 'append' | 'read' | 'gossip' | 'all';
export type AnyCall =
  | ServerUnaryCall<unknown, unknown>
  | ServerReadableStream<unknown, unknown>
  | ServerWritableStream<unknown, unknown>;

/** The faults that can be switched on. Each behaves as a server would; none changes what is recorded. */
export class Faults {
  #lost: ('refused' | 'silent')[] = [];
  #stalled = new Set<Stallable>();
  #busy = 0;
  #mutings = 0;
  looksMayEnd: Promise<void> = Promise.resolve();
  #leader: { host: string; port: number } | undefined;
  readonly #subscriptions = new Set<(how: 'clean' | 'cancelled') => void>();

  /** The next append is recorded, but its answer is a broken connection (`refused`) or never comes (`silent`). */
  loseNextAppendAcknowledgement(how: 'refused' | 'silent' = 'refused'): void {
    this.#lost.push(how);
  }

  /** Calls of this kind get no answer from now on; `resume` lets later ones through. */
  stall(what: Stallable): void {
    this.#stalled.add(what);
  }

  resume(): void {
    this.#stalled.clear();
  }

  /**
   * Reads with a filter get nothing until the returned function is called, as while a server scans millions of events
   * that do not match. Other calls are answered.
   */
  holdLooks(): () => void {
    let release: () => void = () => undefined;
    this.looksMayEnd = new Promise((resolve) => (release = resolve));
    return release;
  }

  /** The next `calls` calls are refused with "Server Is Busy". */
  busy(calls: number): void {
    this.#busy = calls;
  }

  /** Calls that need a leader are refused with the leader's address. Without an address, this node leads again. */
  notLeader(leader?: { host: string; port: number }): void {
    this.#leader = leader;
  }

  /**
   * Open subscriptions get nothing any more, and stay open, as on a node that is isolated or no longer leads. Later
   * subscriptions work.
   */
  muteSubscriptions(): void {
    this.#mutings++;
  }

  /** How often subscriptions have been muted: those that began before are silent. */
  get mutings(): number {
    return this.#mutings;
  }

  /** Ends open subscriptions: `clean` like a server that closes cleanly, `cancelled` like one that is going down. */
  closeSubscriptions(how: 'clean' | 'cancelled', most = Infinity): void {
    for (const close of [...this.#subscriptions].slice(0, most)) close(how);
  }

  /** How many subscriptions are open. */
  get subscriptions(): number {
    return this.#subscriptions.size;
  }

  takeLost(): 'refused' | 'silent' | undefined {
    return this.#lost.shift();
  }

  takeBusy(): boolean {
    return this.#busy > 0 && this.#busy-- > 0;
  }

  isStalled(kind: Exclude<Stallable, 'all'>): boolean {
    return this.#stalled.has(kind) || this.#stalled.has('all');
  }

  get leader(): { host: string; port: number } | undefined {
    return this.#leader;
  }

  onClose(close: (how: 'clean' | 'cancelled') => void): () => void {
    this.#subscriptions.add(close);
    return () => this.#subscriptions.delete(close);
  }
}
