import { messageOf, unavailable, WaylogError } from '#lib/platform';
import type {
  AppendOutcome,
  AppendRequest,
  EventStore,
  Json,
  JsonObject,
  LogProblem,
  NewEvent,
  Position,
  ReadAllOptions,
  ReadStreamOptions,
  RecordedEvent,
  Snapshot,
  SubscribeOptions,
} from '../event-store.js';
import { upcaster, type Upcasters } from '../upcasting.js';
import type { DataKeys } from './data-keys.js';
import { open, seal } from './seal.js';

/** Per event type, the fields that are sealed, each with what is read in its place once the key is gone. */
export type SensitiveFields = Readonly<Record<string, Readonly<Record<string, Json>>>>;

export interface Sealing {
  readonly keys: DataKeys;
  readonly sensitive: SensitiveFields;
}

/**
 * A log in which some fields of some events are sealed with a key of their stream. To whoever uses the port they are fields
 * like all others; in the log they are one, `sealed`, that nothing opens once the key is deleted. Then they read as what
 * `sensitive` says, and the events, with their hashes, are as they were recorded.
 *
 * Snapshots of a stream with a key are sealed as a whole.
 */
export class SealedEventStore implements EventStore {
  readonly beginning: Position;
  readonly check?: () => Promise<LogProblem[]>;
  readonly #upcast: (event: RecordedEvent) => RecordedEvent;
  readonly #sensitive: ReadonlyMap<string, Readonly<Record<string, Json>>>;

  /** `inner` reads events as they were recorded: what is sealed is opened before it is brought into today's shape. */
  constructor(
    private readonly inner: EventStore,
    private readonly sealing: Sealing,
    upcasters: Upcasters,
  ) {
    this.beginning = inner.beginning;
    this.#upcast = upcaster(upcasters);
    this.#sensitive = new Map(Object.entries(sealing.sensitive));
    if (inner.check) this.check = () => inner.check?.() ?? Promise.resolve([]);
  }

  async append(requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
    const isSensitive = ({ type }: NewEvent) => this.#sensitive.has(type);
    const streams = requests.filter(({ events }) => events.some(isSensitive)).map(({ streamId }) => streamId);
    if (streams.length === 0) return this.inner.append(requests);
    const keys = await this.sealing.keys.make(streams);
    return this.inner.append(
      requests.map((request) => {
        if (!request.events.some(isSensitive)) return request;
        const key = keys.get(request.streamId);
        if (!key) throw erasedMeanwhile(request.streamId);
        return {
          ...request,
          events: request.events.map((event) => this.#seal(request.streamId, event, key)),
        };
      }),
    );
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

  head(): Promise<Position> {
    return this.inner.head();
  }

  compare(a: Position, b: Position): number {
    return this.inner.compare(a, b);
  }

  backlog(after: Position) {
    return this.inner.backlog(after);
  }

  /** A snapshot whose key is gone is none: the state is made from the log. */
  async loadSnapshot(streamId: string, version: number): Promise<Snapshot | undefined> {
    const snapshot = await this.inner.loadSnapshot(streamId, version);
    if (!snapshot?.state.startsWith(SEALED_STATE)) return snapshot;
    const key = (await this.sealing.keys.of([streamId])).get(streamId);
    if (!key) return undefined;
    const sealed = snapshot.state.slice(SEALED_STATE.length);
    return { ...snapshot, state: open(key, sealed, `${streamId} ${snapshot.revision}`) };
  }

  async saveSnapshot(streamId: string, version: number, snapshot: Snapshot): Promise<void> {
    const key = (await this.sealing.keys.of([streamId])).get(streamId);
    const { revision, state } = snapshot;
    await this.inner.saveSnapshot(
      streamId,
      version,
      key ? { revision, state: SEALED_STATE + seal(key, state, `${streamId} ${revision}`) } : snapshot,
    );
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  #seal(streamId: string, event: NewEvent, key: Buffer): NewEvent {
    const fields = this.#sensitive.get(event.type);
    if (!fields) return event;
    const { open: left, sensitive } = parted(event.data, fields);
    // One whose key is gone is copied as it is: its fields say nothing.
    if (typeof event.data['sealed'] === 'string') return { ...event, data: left };
    const sealed = seal(key, JSON.stringify(sensitive), aboutOf(streamId, event));
    return { ...event, data: { ...left, sealed } };
  }

  async #open(events: RecordedEvent[]): Promise<RecordedEvent[]> {
    const streams = events.filter(isSealed).map(({ streamId }) => streamId);
    const keys = streams.length === 0 ? undefined : await this.sealing.keys.of(streams);
    return events.map((event) =>
      this.#upcast(keys && isSealed(event) ? this.#opened(event, keys.get(event.streamId)) : event),
    );
  }

  #opened(event: RecordedEvent, key: Buffer | undefined): RecordedEvent {
    if (!key) return { ...event, data: { ...event.data, ...this.#sensitive.get(event.type) } };
    const { sealed, ...left } = event.data;
    try {
      const fields = JSON.parse(open(key, sealed as string, aboutOf(event.streamId, event))) as JsonObject;
      return { ...event, data: { ...left, ...fields } };
    } catch (error) {
      return {
        ...event,
        // The event's own trouble, and not that of the page it is read with.
        get data(): JsonObject {
          throw unopened(event, error);
        },
      };
    }
  }
}

const SEALED_STATE = 'sealed:';

const isSealed = ({ data }: RecordedEvent): boolean => typeof data['sealed'] === 'string';

const aboutOf = (streamId: string, { id, type }: Pick<NewEvent, 'id' | 'type'>): string =>
  `${streamId} ${id} ${type}`;

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
