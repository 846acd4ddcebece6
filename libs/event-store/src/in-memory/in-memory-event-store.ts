import { WaylogError } from '#lib/platform';
import { checkAppend } from '../check-append.js';
import type {
  AppendOutcome,
  AppendRequest,
  Backlog,
  EventStore,
  ExpectedRevision,
  Position,
  ReadAllOptions,
  ReadStreamOptions,
  RecordedEvent,
  Snapshot,
  SubscribeOptions,
} from '../event-store.js';
import { categoryOf } from '../category.js';
import { upcaster } from '../upcasting.js';
import { asRecorded, type Vocabulary } from '../vocabulary.js';

/** The log in an array: for unit tests and experiments. Nothing survives the process. */
export class InMemoryEventStore implements EventStore {
  readonly appendsInOrder = true;
  readonly beginning = '0';
  /** It lives as long as the process, and never goes back. */
  get epoch(): number {
    return 0;
  }
  readonly #log: RecordedEvent[] = [];
  readonly #streams = new Map<string, RecordedEvent[]>();
  readonly #snapshots = new Map<string, Snapshot>();
  readonly #wake = new Set<() => void>();
  readonly #upcast: (event: RecordedEvent) => RecordedEvent;

  constructor(options: { vocabulary?: Vocabulary } = {}) {
    this.#upcast = upcaster(options.vocabulary ?? asRecorded);
  }

  async append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    for (const request of requests) checkAppend(request);
    const outcomes = requests.map((request) => this.#appendOne(request));
    for (const wake of [...this.#wake]) wake();
    return Promise.resolve(outcomes);
  }

  async appendTogether(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    const asIs = requests.map(({ streamId, expectedRevision, events }) => {
      const stream = this.#streams.get(streamId) ?? [];
      const currentRevision = stream.length - 1;
      const isFine =
        findRepeat(stream, { streamId, expectedRevision, events }) !== undefined ||
        isExpected(expectedRevision, currentRevision);
      return { isFine, currentRevision };
    });
    if (asIs.every(({ isFine }) => isFine)) return this.append(requests);
    return Promise.resolve(asIs.map(({ currentRevision }) => ({ accepted: false, currentRevision })));
  }

  async *readStream(streamId: string, options: ReadStreamOptions = {}): AsyncIterable<RecordedEvent[]> {
    const { fromRevision = 0, toRevision = Infinity, pageSize = 1_000 } = options;
    for (let next = fromRevision; ; next += pageSize) {
      const end = Math.min(next + pageSize, toRevision + 1);
      const page = (this.#streams.get(streamId) ?? []).slice(next, end);
      if (page.length > 0) yield await Promise.resolve(page.map(this.#upcast));
      if (page.length < pageSize) return;
    }
  }

  async readAll({
    after = this.beginning,
    limit,
    types,
    categories,
  }: ReadAllOptions): Promise<RecordedEvent[]> {
    const wanted = types && new Set(types);
    const events: RecordedEvent[] = [];
    for (let i = this.#number(after); i < this.#log.length && events.length < limit; i++) {
      const event = this.#log[i];
      if (event && (!wanted || wanted.has(event.type)) && isIn(categories, event))
        events.push(this.#upcast(event));
    }
    return Promise.resolve(events);
  }

  async *subscribe({
    after,
    batchSize,
    categories,
    signal,
  }: SubscribeOptions): AsyncIterable<RecordedEvent[]> {
    for (let from = after; !signal.aborted;) {
      const end = String(this.#log.length);
      const batch = await this.readAll({ after: from, limit: batchSize, ...(categories && { categories }) });
      const last = batch.at(-1);
      if (last) {
        yield batch;
        from = last.position;
      } else if (this.#number(from) >= this.#log.length) {
        await this.#nextAppend(signal);
      } else {
        from = end;
      }
    }
  }

  head(): Promise<Position> {
    return Promise.resolve(String(this.#log.length));
  }

  async reaches(position: Position): Promise<boolean> {
    return this.compare(position, await this.head()) <= 0;
  }

  compare(a: Position, b: Position): number {
    return this.#number(a) - this.#number(b);
  }

  backlog(after: Position, categories?: readonly string[]): Promise<Backlog> {
    const events = this.#log.slice(this.#number(after)).filter((event) => isIn(categories, event));
    return Promise.resolve({ events: events.length, since: events[0]?.recordedAt });
  }

  confirm(): Promise<void> {
    return Promise.resolve();
  }

  refuseLost(): Promise<void> {
    return Promise.resolve();
  }

  loadSnapshot(streamId: string, version: number): Promise<Snapshot | undefined> {
    return Promise.resolve(this.#snapshots.get(`${version} ${streamId}`));
  }

  saveSnapshot(streamId: string, version: number, snapshot: Snapshot): Promise<void> {
    this.#snapshots.set(`${version} ${streamId}`, structuredClone(snapshot));
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #appendOne({ streamId, expectedRevision, events }: AppendRequest): AppendOutcome {
    const stream = this.#streams.get(streamId) ?? [];
    const repeatedFrom = findRepeat(stream, { streamId, expectedRevision, events });
    if (repeatedFrom !== undefined) {
      const earlier = stream.slice(repeatedFrom, repeatedFrom + events.length);
      return {
        accepted: true,
        firstRevision: repeatedFrom,
        positions: earlier.map(({ position }) => position),
        repeated: true,
      };
    }
    const currentRevision = stream.length - 1;
    if (!isExpected(expectedRevision, currentRevision)) return { accepted: false, currentRevision };

    const recordedAt = new Date().toISOString();
    const recorded = events.map((event, i): RecordedEvent => ({
      // The same copy through JSON that a database makes: what cannot be stored must not survive here either.
      ...(JSON.parse(JSON.stringify(event)) as typeof event),
      streamId,
      revision: stream.length + i,
      position: String(this.#log.length + i + 1),
      recordedAt,
    }));
    stream.push(...recorded);
    this.#streams.set(streamId, stream);
    this.#log.push(...recorded);
    return {
      accepted: true,
      firstRevision: stream.length - recorded.length,
      positions: recorded.map(({ position }) => position),
      repeated: false,
    };
  }

  #number(position: Position): number {
    if (!/^\d+$/.test(position)) {
      throw new WaylogError(
        'position.invalid',
        'invalid',
        `${JSON.stringify(position)} is not a position of this log.`,
      );
    }
    return Number(position);
  }

  #nextAppend(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        this.#wake.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#wake.add(wake);
      signal.addEventListener('abort', wake);
    });
  }
}

const isIn = (categories: readonly string[] | undefined, { streamId }: RecordedEvent): boolean =>
  categories?.includes(categoryOf(streamId) ?? '') ?? true;

const isExpected = (expected: ExpectedRevision, currentRevision: number): boolean =>
  expected === 'any' ||
  (expected === 'no-stream' && currentRevision < 0) ||
  (expected === 'stream-exists' && currentRevision >= 0) ||
  expected === currentRevision;

/** Where the stream already holds exactly these events, if it does. */
function findRepeat(stream: readonly RecordedEvent[], request: AppendRequest): number | undefined {
  const { expectedRevision, events } = request;
  const from =
    typeof expectedRevision === 'number'
      ? expectedRevision + 1
      : expectedRevision === 'no-stream'
        ? 0
        : stream.findIndex(({ id }) => id === events[0]?.id);
  return from >= 0 && events.every(({ id }, i) => stream[from + i]?.id === id) ? from : undefined;
}
