import type { ServerReadableStream, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';

export type Stallable = 'append' | 'read' | 'gossip' | 'all';
export type AnyCall =
  | ServerUnaryCall<unknown, unknown>
  | ServerReadableStream<unknown, unknown>
  | ServerWritableStream<unknown, unknown>;

/** What can be switched to go wrong. Each says what a server would do; nothing here changes what is recorded. */
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
   * Reads with a filter get nothing until the returned function is called, as while a server looks through millions of events that
   * do not pass. Other calls are answered.
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

  /** Whatever needs a leader is refused, and told where the leader is. Without an address: this node leads again. */
  notLeader(leader?: { host: string; port: number }): void {
    this.#leader = leader;
  }

  /**
   * What is subscribed to now brings nothing any more, and stays open: so does a node that is cut off from the others, or that
   * leads no more. What is subscribed later does.
   */
  muteSubscriptions(): void {
    this.#mutings++;
  }

  /** How often subscriptions have been muted: whoever began before is silent. */
  get mutings(): number {
    return this.#mutings;
  }

  /** Ends open subscriptions: `clean` as a server that closes in good order, `cancelled` as one that is going down. */
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
