/** One event of the double's log, as it was proposed, and its place. */
export interface StoredEvent {
  readonly id: string;
  readonly stream: string;
  readonly revision: number;
  readonly type: string;
  readonly contentType: string;
  readonly data: Uint8Array;
  readonly metadata: Uint8Array;
  /** .NET ticks (a tenth of a microsecond) since 1970. */
  readonly created: bigint;
  readonly commit: bigint;
  readonly prepare: bigint;
}

export type Proposed = Pick<StoredEvent, 'id' | 'type' | 'contentType' | 'data' | 'metadata'>;
export type Expected = bigint | 'any' | 'no-stream' | 'stream-exists';

export type Appended =
  | { readonly kind: 'recorded'; readonly last: StoredEvent }
  | { readonly kind: 'wrong-version'; readonly current: number }
  | { readonly kind: 'tombstoned' };

interface Stream {
  /** All events ever recorded; index = revision. */
  readonly events: StoredEvent[];
  /** Set by a soft delete: revisions below no longer exist, later ones continue. */
  truncateBefore: number;
  maxCount: number;
  tombstoned: boolean;
  deleted: boolean;
}

/**
 * The data of EventStoreDB, in memory: streams, and `$all` in commit order. Positions have gaps, and the events of one
 * append share their commit position; after every third append the log gets a system event, as a server's does.
 */
export class DoubleLog {
  readonly all: StoredEvent[] = [];
  readonly #streams = new Map<string, Stream>();
  readonly #waiting = new Set<() => void>();
  #end = 1_000n;
  #scavengedUpTo = 0n;
  #appends = 0;
  /** What the server knows of recent appends to any revision; lost when it restarts. */
  #recent = new Map<string, StoredEvent>();

  constructor() {
    this.#statistics();
  }

  append(stream: string, expected: Expected, proposed: readonly Proposed[]): Appended {
    const known = this.#streams.get(stream);
    if (known?.tombstoned) return { kind: 'tombstoned' };
    const current = (known?.events.length ?? 0) - 1;
    const exists = current >= 0 && !known?.deleted;
    const last = this.#earlier(stream, expected, proposed);
    if (last) return { kind: 'recorded', last };
    const matches =
      expected === 'any' ||
      (expected === 'no-stream' && !exists) ||
      (expected === 'stream-exists' && exists) ||
      (typeof expected === 'bigint' && exists && Number(expected) === current);
    if (!matches) return { kind: 'wrong-version', current: exists ? current : -1 };
    const recorded = this.#record(stream, proposed);
    if (!stream.startsWith('$') && ++this.#appends % 3 === 0) this.#statistics();
    for (const wake of [...this.#waiting]) wake();
    return { kind: 'recorded', last: recorded };
  }

  /** The readable events of the stream, in order; undefined if there is no stream. */
  stream(name: string): readonly StoredEvent[] | 'tombstoned' | undefined {
    const stream = this.#streams.get(name);
    if (!stream) return undefined;
    if (stream.tombstoned) return 'tombstoned';
    if (stream.deleted) return undefined;
    const from = Math.max(stream.truncateBefore, stream.events.length - stream.maxCount);
    return stream.events.slice(from);
  }

  delete(name: string): void {
    const stream = this.#streams.get(name);
    if (!stream) return;
    const data = Buffer.from('{"$tb":9223372036854775807}');
    const id = crypto.randomUUID();
    const metadata = new Uint8Array();
    this.#record(`$$${name}`, [{ id, type: '$metadata', contentType: 'application/json', data, metadata }]);
    stream.deleted = true;
    // Later events are not truncated: the server then corrects the metadata.
    stream.truncateBefore = stream.events.length;
  }

  tombstone(name: string): void {
    const data = new Uint8Array();
    const id = crypto.randomUUID();
    this.#record(name, [{ id, type: '$streamDeleted', contentType: '', data, metadata: data }]);
    this.#of(name).tombstoned = true;
    for (const wake of [...this.#waiting]) wake();
  }

  /** Permanently removes everything that cannot be read any more, except the last event of each stream. */
  scavenge(): void {
    const isKept = ({ stream: name, revision, type }: StoredEvent) => {
      const stream = this.#streams.get(name);
      if (!stream || type === '$streamDeleted') return true;
      const count = stream.events.length;
      const from = Math.min(count - 1, Math.max(stream.truncateBefore, count - stream.maxCount));
      return !stream.tombstoned && revision >= from;
    };
    this.all.splice(0, this.all.length, ...this.all.filter(isKept));
    this.#scavengedUpTo = this.#end;
  }

  /** Files that were scavenged can be read from any place. */
  isScavenged(commit: bigint): boolean {
    return commit <= this.#scavengedUpTo;
  }

  /** Copies the present files; the returned function restores them. */
  copy(): () => void {
    const all = [...this.all];
    const streams = [...this.#streams].map(
      ([name, stream]) => [name, { ...stream, events: [...stream.events] }] as const,
    );
    const end = this.#end;
    return () => {
      this.all.splice(0, this.all.length, ...all);
      this.#streams.clear();
      for (const [name, stream] of streams)
        this.#streams.set(name, { ...stream, events: [...stream.events] });
      this.#end = end;
    };
  }

  /** What a restart loses: the memory of recent appends. */
  forget(): void {
    this.#recent = new Map();
  }

  /** The index in `all` of the first event at or after a position. */
  indexAt(commit: bigint, prepare: bigint): number {
    let low = 0;
    for (let high = this.all.length; low < high;) {
      const middle = (low + high) >> 1;
      const event = this.all[middle] as StoredEvent;
      if (event.commit < commit || (event.commit === commit && event.prepare < prepare)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Calls `wake` after every append until the returned function is called. */
  onAppend(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => this.#waiting.delete(wake);
  }

  /**
   * The last event of an earlier append with the same ids: at its place if a revision is expected (from disk), and
   * among the recent ones if any is (from memory).
   */
  #earlier(stream: string, expected: Expected, proposed: readonly Proposed[]): StoredEvent | undefined {
    const events = this.#streams.get(stream)?.events ?? [];
    const at =
      typeof expected === 'bigint'
        ? Number(expected) + 1
        : expected === 'no-stream'
          ? 0
          : this.#recent.get(`${stream} ${proposed[0]?.id}`)?.revision;
    if (at === undefined) return undefined;
    const same = proposed.every(({ id }, i) => events[at + i]?.id === id);
    return same ? events[at + proposed.length - 1] : undefined;
  }

  #record(name: string, proposed: readonly Proposed[]): StoredEvent {
    const stream = this.#of(name);
    stream.deleted = false;
    const created = BigInt(Date.now()) * 10_000n;
    const begin = this.#end;
    const commit = begin + BigInt(proposed.length) * 37n;
    for (const [i, event] of proposed.entries()) {
      const stored: StoredEvent = {
        ...event,
        stream: name,
        revision: stream.events.length,
        created,
        commit,
        prepare: begin + BigInt(i) * 37n,
      };
      stream.events.push(stored);
      this.all.push(stored);
      this.#recent.set(`${name} ${event.id}`, stored);
      if (event.type === '$metadata' && name.startsWith('$$')) this.#configure(name.slice(2), event.data);
    }
    this.#end = commit + 211n;
    return stream.events.at(-1) as StoredEvent;
  }

  #configure(name: string, data: Uint8Array): void {
    const metadata = JSON.parse(Buffer.from(data).toString()) as Record<string, unknown>;
    const stream = this.#of(name);
    stream.maxCount = Number(metadata['$maxCount'] ?? Infinity);
    stream.truncateBefore = Number(metadata['$tb'] ?? 0);
  }

  #of(name: string): Stream {
    let stream = this.#streams.get(name);
    if (!stream) {
      stream = { events: [], truncateBefore: 0, maxCount: Infinity, tombstoned: false, deleted: false };
      this.#streams.set(name, stream);
    }
    return stream;
  }

  #statistics(): void {
    const metadata = new Uint8Array();
    const data = Buffer.from('{"proc-cpu":1}');
    const id = crypto.randomUUID();
    const type = '$statsCollected';
    this.#record('$stats-127.0.0.1:2113', [{ id, type, contentType: 'application/json', data, metadata }]);
  }
}
