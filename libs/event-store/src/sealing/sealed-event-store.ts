import { LRUCache } from 'lru-cache';
import { messageOf, unavailable, WaylogError } from '#lib/platform';
import type {
  AppendOutcome,
  AppendRequest,
  Backlog,
  EventStore,
  Json,
  JsonObject,
  NewEvent,
  Position,
  ReadAllOptions,
  ReadStreamOptions,
  RecordedEvent,
  Snapshot,
  SubscribeOptions,
} from '../event-store.js';
import { upcaster } from '../upcasting.js';
import { isErasing, sensitiveFieldsOf, type Vocabulary } from '../vocabulary.js';
import type { DataKeys } from './data-keys.js';
import { newKey, open, seal } from './seal.js';

/**
 * A log in which some fields of some events are sealed with a key of their stream. To whoever uses the port they are fields
 * like all others; in the log they are one, `sealed`, that nothing opens once the key is deleted. In a stream that says that
 * it was erased they then read as what `sensitive` says, and the events, with their hashes, are as they were recorded. A key
 * that is gone from any other stream is damage, and no erasure: whoever asks for such an event's data is thrown
 * `event.unreadable`. A key that an erased stream has all the same, left or brought back, opens nothing.
 *
 * Snapshots of a stream with a key are sealed as a whole.
 */
export class SealedEventStore implements EventStore {
  readonly beginning: Position;
  readonly appendTogether?: NonNullable<EventStore['appendTogether']>;
  readonly check?: NonNullable<EventStore['check']>;
  readonly beginningOf?: NonNullable<EventStore['beginningOf']>;
  readonly #upcast: (event: RecordedEvent) => RecordedEvent;
  /** Streams that say that they were erased, which is for good. */
  readonly #erased = new LRUCache<string, true>({ max: 20_000 });
  #epoch: number;

  /** `inner` reads events as they were recorded: what is sealed is opened before it is brought into today's shape. */
  constructor(
    private readonly inner: EventStore,
    private readonly keys: DataKeys,
    private readonly vocabulary: Vocabulary,
  ) {
    this.beginning = inner.beginning;
    this.#epoch = inner.epoch;
    this.#upcast = upcaster(vocabulary);
    if (inner.beginningOf)
      this.beginningOf = (streamId) => inner.beginningOf?.(streamId) ?? Promise.resolve(0);
    if (inner.appendTogether)
      this.appendTogether = (requests) =>
        this.#append(requests, (sealed) => (inner as Required<EventStore>).appendTogether(sealed));
    if (inner.check) this.check = (options) => inner.check?.(options) ?? Promise.resolve([]);
  }

  append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    return this.#append(requests, (sealed) => this.inner.append(sealed));
  }

  async #append(requests: readonly AppendRequest[], append: EventStore['append']): Promise<AppendOutcome[]> {
    this.#forgetEarlier();
    const outcomes = await append(await this.#sealed(requests));
    // Whoever records an erasure deletes the key: an import, too.
    for (const [i, { streamId, events }] of requests.entries())
      if (outcomes[i]?.accepted && events.some(({ type }) => isErasing(this.vocabulary, { streamId, type })))
        await this.keys.forget(streamId);
    return outcomes;
  }

  /** Keys and erasures may have been lost with the end of the log. */
  #forgetEarlier(): void {
    if (this.#epoch === this.inner.epoch) return;
    this.#epoch = this.inner.epoch;
    this.#erased.clear();
    this.keys.forgetAll();
  }

  async #sealed(requests: readonly AppendRequest[]): Promise<readonly AppendRequest[]> {
    // What is sealed already comes from a log in which it was erased: a key would open nothing of it.
    const isSensitive = (streamId: string) => (event: NewEvent) =>
      !isSealed(event) && this.#sensitiveOf({ streamId, type: event.type }) !== undefined;
    const streams = requests
      .filter(({ streamId, events }) => events.some(isSensitive(streamId)))
      .map(({ streamId }) => streamId);
    if (streams.length === 0) return requests;
    const keys = new Map(await this.keys.make(streams));
    for (const streamId of streams) if (!keys.has(streamId)) keys.set(streamId, await this.#unkept(streamId));
    return requests.map((request) => {
      const key = keys.get(request.streamId);
      if (!key || !request.events.some(isSensitive(request.streamId))) return request;
      return { ...request, events: request.events.map((event) => this.#seal(request.streamId, event, key)) };
    });
  }

  /**
   * A key that nobody keeps, for whoever appends to an erased stream and does not know it yet. The log answers him that the
   * stream has moved on, or what it has answered before; what it did take would be erased like all the rest.
   */
  async #unkept(streamId: string): Promise<Buffer> {
    if (!(await this.#saysErased(streamId))) throw erasedMeanwhile(streamId);
    return newKey();
  }

  async *readStream(streamId: string, options?: ReadStreamOptions): AsyncIterable<RecordedEvent[]> {
    for await (const page of this.inner.readStream(streamId, options)) yield await this.#open(page);
  }

  async readAll(options: ReadAllOptions): Promise<RecordedEvent[]> {
    return this.#open(await this.inner.readAll(options));
  }

  async *subscribe(options: SubscribeOptions): AsyncIterable<RecordedEvent[]> {
    for await (const batch of this.inner.subscribe(options)) yield await this.#open(batch);
  }

  get epoch(): number {
    return this.inner.epoch;
  }

  confirm(): Promise<void> {
    return this.inner.confirm();
  }

  refuseLost(position: Position, reached: Position): Promise<void> {
    return this.inner.refuseLost(position, reached);
  }

  head(): Promise<Position> {
    return this.inner.head();
  }

  get appendsInOrder(): boolean {
    return this.inner.appendsInOrder ?? false;
  }

  get answersWithinMs(): number | undefined {
    return this.inner.answersWithinMs;
  }

  reaches(position: Position, seenAt: number): Promise<boolean> {
    return this.inner.reaches(position, seenAt);
  }

  compare(a: Position, b: Position): number {
    return this.inner.compare(a, b);
  }

  backlog(after: Position, categories?: readonly string[]): Promise<Backlog> {
    return this.inner.backlog(after, categories);
  }

  /** A snapshot whose key is gone, or another one, is none: the state is made from the log. */
  async loadSnapshot(streamId: string, version: number): Promise<Snapshot | undefined> {
    const snapshot = await this.inner.loadSnapshot(streamId, version);
    if (!snapshot?.state.startsWith(SEALED_STATE)) return snapshot;
    const key = (await this.keys.of([streamId])).get(streamId);
    const sealed = snapshot.state.slice(SEALED_STATE.length);
    const state = key && opensTo(key, sealed, `${streamId} ${snapshot.revision}`);
    return state === undefined ? undefined : { ...snapshot, state };
  }

  /** A stream that has something sealed and no key any more gets none: its state may hold what was erased. */
  async saveSnapshot(streamId: string, version: number, snapshot: Snapshot): Promise<void> {
    const key = (await this.keys.of([streamId])).get(streamId);
    const { revision, state } = snapshot;
    if (key) {
      const sealed = SEALED_STATE + seal(key, state, `${streamId} ${revision}`);
      await this.inner.saveSnapshot(streamId, version, { revision, state: sealed });
    } else if (!(await this.#has(streamId, isSealed))) {
      await this.inner.saveSnapshot(streamId, version, snapshot);
    }
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  #seal(streamId: string, event: NewEvent, key: Buffer): NewEvent {
    const fields = this.#sensitiveOf({ streamId, type: event.type });
    if (!fields) return event;
    const { open: left, sensitive } = parted(event.data, fields);
    // One whose key is gone is copied as it is: its fields say nothing.
    if (isSealed(event)) return { ...event, data: left };
    const sealed = seal(key, JSON.stringify(sensitive), sealedAbout({ ...event, streamId }));
    return { ...event, data: { ...left, sealed } };
  }

  async #open(events: RecordedEvent[]): Promise<RecordedEvent[]> {
    this.#forgetEarlier();
    const sealed = events.filter(isSealed);
    if (sealed.length === 0) return events.map(this.#upcast);
    // Most streams are read in one page, up to their end.
    for (const event of events) if (this.#isErasing(event)) this.#erased.set(event.streamId, true);
    const keys = await this.keys.of(sealed.map(({ streamId }) => streamId));
    const opened = new Map(sealed.map((event) => [event, this.#opened(event, keys.get(event.streamId))]));
    const shut = new Set(
      sealed.filter((event) => opened.get(event) instanceof WaylogError).map(({ streamId }) => streamId),
    );
    if (shut.size > 0) {
      for (const streamId of shut) await this.#lookIfErased(streamId);
      // Before a key is called lost: it may have come meanwhile.
      const anew = await this.keys.anew(shut);
      for (const event of sealed)
        if (shut.has(event.streamId)) opened.set(event, this.#opened(event, anew.get(event.streamId)));
    }
    return events.map((event) => {
      const data = opened.get(event);
      if (!data) return this.#upcast(event);
      return this.#upcast(data instanceof WaylogError ? failing(event, data) : { ...event, data });
    });
  }

  readonly #isErasing = (event: RecordedEvent): boolean => isErasing(this.vocabulary, event);

  #sensitiveOf(event: Pick<RecordedEvent, 'streamId' | 'type'>) {
    return sensitiveFieldsOf(this.vocabulary, event);
  }

  async #saysErased(streamId: string): Promise<boolean> {
    if (this.#erased.has(streamId)) return true;
    if (!(await this.#has(streamId, this.#isErasing))) return false;
    this.#erased.set(streamId, true);
    return true;
  }

  /**
   * One that others have deleted says nothing any more, so the place of its key does. If that does not say either, it is
   * trouble of its events, and not of the page they are read with.
   */
  async #lookIfErased(streamId: string): Promise<void> {
    if ((await this.inner.beginningOf?.(streamId)) !== Infinity) await this.#saysErased(streamId);
    else if (await this.keys.wasErased(streamId)) this.#erased.set(streamId, true);
  }

  async #has(streamId: string, is: (event: RecordedEvent) => boolean): Promise<boolean> {
    for await (const page of this.inner.readStream(streamId)) if (page.some(is)) return true;
    return false;
  }

  /** The data of an event with what is sealed in it, or why that cannot be had. */
  #opened(event: RecordedEvent, key: Buffer | undefined): JsonObject | WaylogError {
    if (this.#erased.has(event.streamId)) return { ...event.data, ...this.#sensitiveOf(event) };
    if (!key) return keyLost(event);
    const { sealed, ...left } = event.data;
    try {
      return { ...left, ...(JSON.parse(open(key, sealed as string, sealedAbout(event))) as JsonObject) };
    } catch (error) {
      return unopened(event, error);
    }
  }
}

/** The event's own trouble, and not that of the page it is read with. */
const failing = (event: RecordedEvent, error: WaylogError): RecordedEvent => ({
  ...event,
  get data(): JsonObject {
    throw error;
  },
});

const SEALED_STATE = 'sealed:';

const isSealed = ({ data }: Pick<NewEvent, 'data'>): boolean => typeof data['sealed'] === 'string';

/** What the sealed fields of an event are bound to: they open in no other. */
const sealedAbout = ({ streamId, id, type }: Pick<RecordedEvent, 'streamId' | 'id' | 'type'>): string =>
  `${streamId} ${id} ${type}`;

/** Whether a key opens what is sealed in an event; for an audit, which tells a key that was put in another's place. */
export function opens(key: Buffer, event: Pick<RecordedEvent, 'streamId' | 'id' | 'type' | 'data'>): boolean {
  return opensTo(key, event.data['sealed'] as string, sealedAbout(event)) !== undefined;
}

/** What was sealed; undefined where a key does not open it. */
function opensTo(key: Buffer, sealed: string, about: string): string | undefined {
  try {
    return open(key, sealed, about);
  } catch {
    return undefined;
  }
}

function parted(data: JsonObject, fields: Readonly<Record<string, Json>>) {
  const open: Record<string, Json | undefined> = {};
  const sensitive: Record<string, Json | undefined> = {};
  for (const [name, value] of Object.entries(data)) {
    if (Object.hasOwn(fields, name)) sensitive[name] = value;
    else open[name] = value;
  }
  return { open, sensitive };
}

/** Nothing goes out unsealed. Sent again, the command meets the erasure in the log. */
const erasedMeanwhile = (streamId: string) =>
  unavailable(
    'event.not-sealed',
    `The key of ${streamId} was deleted while an event was sealed with it. Nothing was recorded; send the command again.`,
    { streamId },
  );

const unopened = ({ type, revision, streamId }: RecordedEvent, cause: unknown) =>
  new WaylogError(
    'event.unreadable',
    'unavailable',
    `Event ${type} at revision ${revision} of ${streamId} holds sealed fields that the key of its stream does not open: ` +
      `${messageOf(cause)}. They were sealed with another key, or changed: see \`waylog verify --audit\`.`,
    { streamId, revision },
    { cause },
  );

const keyLost = ({ type, revision, streamId }: RecordedEvent) =>
  new WaylogError(
    'event.unreadable',
    'unavailable',
    `Event ${type} at revision ${revision} of ${streamId} holds sealed fields, and the key of its stream is gone although ` +
      `no event says that it was erased. Bring the key back from a backup (table log.data_keys), then retry what is parked; ` +
      `see \`waylog verify --audit\`.`,
    { streamId, revision },
  );
