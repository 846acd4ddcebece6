import { createHash } from 'node:crypto';
import type { EventStore, Json, RecordedEvent } from '../event-store.js';
import { mustExist } from './export-log.js';
import { newEventOf } from './format.js';

export interface CopyOptions {
  /** Opened with `asRecorded`, as the target: what is copied is what was written. */
  readonly from: EventStore;
  readonly to: EventStore;
  /** Only these streams; otherwise all. */
  readonly streams?: readonly string[];
  /** Told how many events have gone through each step, and of about how many. */
  readonly onProgress?: (step: 'copying' | 'comparing', events: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** A stream of which the two logs do not say the same. */
export interface StreamDifference {
  readonly streamId: string;
  /** Events up to where the source ended when the copy began. */
  readonly source: number;
  readonly target: number;
  readonly what: 'missing' | 'shorter' | 'longer' | 'other events';
}

export interface LogDigest {
  readonly events: number;
  readonly streams: number;
  /** Of the streams in the order of their ids: of each its id, its events' revisions, ids, types, versions, contents. */
  readonly sha256: string;
}

export interface CopyResult {
  /** Events that the target has now and had not before. */
  readonly recorded: number;
  /** Events that it had already. */
  readonly already: number;
  readonly source: LogDigest;
  /** Of the same streams. */
  readonly target: LogDigest;
  /** Whether the events of all these streams stand in the same order among each other. */
  readonly sameOrder: boolean;
  /** Nothing was written to a stream of which the target has other events. */
  readonly differences: readonly StreamDifference[];
  readonly identical: boolean;
}

const PAGE = 1_000;
/** As much goes into one append: a node of EventStoreDB takes 1 MiB. */
const APPEND_EVENTS = 500;
const APPEND_BYTES = 400_000;

/**
 * Copies a log, event for event, through the port alone: what the source held when the copy began, in the source's order,
 * one append after another, so that the target's order is the same. Each append expects the revision that its events have,
 * under their own ids. So copying again records nothing twice, and a copy that was cut off goes on. Then the target is read
 * back, and compared by hash.
 *
 * Writers to the source are not held up; what they add meanwhile is for the next run. A stream that has other events in
 * the target is left as it is, and told among the differences. Memory grows with the number of streams, not of events.
 *
 * @throws WaylogError `log.no-such-stream`, before anything is written
 */
export async function copyLog(options: CopyOptions): Promise<CopyResult> {
  const { from, to, streams, signal, onProgress = () => undefined } = options;
  const until = await from.head();
  for (const streamId of streams ?? []) await mustExist(from, streamId);
  const about = (await from.backlog(from.beginning)).events;
  const content = new LogContent();
  const target = new TargetStreams(from, to);
  for await (const page of pagesOf(from, until, streams)) {
    signal?.throwIfAborted();
    for (const event of page) content.add(event);
    for (const run of runsOf(page)) await target.put(run, signal);
    onProgress('copying', content.events, Math.max(about, content.events));
  }
  const copy = new LogContent();
  const differences = new Map<string, StreamDifference>();
  let longer = 0;
  for await (const page of pagesOf(to, await to.head(), streams)) {
    signal?.throwIfAborted();
    for (const event of page) {
      const there = content.of(event.streamId);
      if (there === undefined) continue;
      if (event.revision < there.events) copy.add(event);
      else {
        longer++;
        const { streamId, revision } = event;
        const counts = { source: there.events, target: revision + 1 };
        differences.set(streamId, { streamId, ...counts, what: 'longer' });
      }
    }
    onProgress('comparing', copy.events + longer, Math.max(content.events, copy.events + longer));
  }
  for (const [streamId, { events, digest }] of content.streams) {
    const there = copy.of(streamId);
    const isPrefix = there?.digest.equals(digest);
    if (isPrefix && there?.events === events) continue;
    const what = !there
      ? 'missing'
      : there.events < events && !target.isOther(streamId)
        ? 'shorter'
        : 'other events';
    differences.set(streamId, { streamId, source: events, target: there?.events ?? 0, what });
  }
  return {
    recorded: target.recorded,
    already: target.already,
    source: content.summary(),
    target: copy.summary(),
    sameOrder: content.order() === copy.order(),
    differences: [...differences.values()],
    identical: differences.size === 0,
  };
}

/** The events up to a position: of the whole log in its order, or of streams one after another. */
async function* pagesOf(
  store: EventStore,
  until: string,
  streams: readonly string[] | undefined,
): AsyncGenerator<RecordedEvent[]> {
  const within = (page: RecordedEvent[]) =>
    page.filter(({ position }) => store.compare(position, until) <= 0);
  if (streams) {
    for (const streamId of streams)
      for await (const page of store.readStream(streamId, { pageSize: PAGE })) yield within(page);
    return;
  }
  for (let after = store.beginning; store.compare(after, until) < 0;) {
    const page = await store.readAll({ after, limit: PAGE });
    const last = page.at(-1);
    if (!last) return;
    yield within(page);
    after = last.position;
  }
}

/** Neighbours of one stream, as many as go into one append. */
function* runsOf(page: readonly RecordedEvent[]): Generator<RecordedEvent[]> {
  let run: RecordedEvent[] = [];
  let bytes = 0;
  for (const event of page) {
    const length = Buffer.byteLength(JSON.stringify([event.data, event.metadata]));
    const isFull = run.length >= APPEND_EVENTS || bytes + length > APPEND_BYTES;
    if (run.length > 0 && (run[0]?.streamId !== event.streamId || isFull)) {
      yield run;
      run = [];
      bytes = 0;
    }
    run.push(event);
    bytes += length;
  }
  if (run.length > 0) yield run;
}

/** What the target has of each stream that the copy has come across. */
class TargetStreams {
  recorded = 0;
  already = 0;
  /** The last revision that both have, from the first one on. */
  readonly #same = new Map<string, number>();
  /** Streams in which the target has something else. */
  readonly #other = new Set<string>();

  constructor(
    private readonly from: EventStore,
    private readonly to: EventStore,
  ) {}

  isOther(streamId: string): boolean {
    return this.#other.has(streamId);
  }

  /** Records events that follow each other in one stream, as far as they are not there. */
  async put(run: readonly RecordedEvent[], signal: AbortSignal | undefined): Promise<void> {
    const streamId = (run[0] as RecordedEvent).streamId;
    // Before anything is put behind what is there: an append that repeats ids would be taken for the same events.
    if (!this.#same.has(streamId)) await this.#meet(streamId);
    // A second round where somebody else writes to the target meanwhile.
    while (!this.#other.has(streamId)) {
      signal?.throwIfAborted();
      const same = this.#same.get(streamId) ?? -1;
      const missing = run.filter(({ revision }) => revision > same);
      const last = missing.at(-1);
      if (!last) break;
      const [outcome] = await this.to.append([
        { streamId, expectedRevision: same < 0 ? 'no-stream' : same, events: missing.map(newEventOf) },
      ]);
      if (outcome?.accepted) {
        this.#same.set(streamId, last.revision);
        const recorded = outcome.repeated ? 0 : missing.length;
        this.recorded += recorded;
        this.already += run.length - recorded;
        return;
      }
      await this.#meet(streamId);
    }
    this.already += run.filter(({ revision }) => revision <= (this.#same.get(streamId) ?? -1)).length;
  }

  /** Compares what the target has of a stream with the source's, from the beginning. */
  async #meet(streamId: string): Promise<void> {
    let same = -1;
    for await (const there of this.to.readStream(streamId, { pageSize: PAGE })) {
      const [first, last] = [there[0], there.at(-1)] as [RecordedEvent, RecordedEvent];
      const here: RecordedEvent[] = [];
      const range = { fromRevision: first.revision, toRevision: last.revision, pageSize: PAGE };
      for await (const page of this.from.readStream(streamId, range)) here.push(...page);
      for (const [i, event] of here.entries()) {
        if (lineOf(event) !== lineOf(there[i] as RecordedEvent)) {
          this.#other.add(streamId);
          this.#same.set(streamId, same);
          return;
        }
        same = event.revision;
      }
    }
    this.#same.set(streamId, same);
  }
}

/** Counts and hashes a log, stream by stream, independent of positions and times of recording. */
class LogContent {
  events = 0;
  readonly streams = new Map<string, { events: number; digest: Buffer }>();
  readonly #order = createHash('sha256');

  of(streamId: string) {
    return this.streams.get(streamId);
  }

  add(event: RecordedEvent): void {
    const { streamId, revision } = event;
    const before = this.streams.get(streamId);
    const digest = createHash('sha256')
      .update(before?.digest ?? '')
      .update(lineOf(event))
      .digest();
    this.streams.set(streamId, { events: (before?.events ?? 0) + 1, digest });
    this.#order.update(`${streamId} ${revision}\n`);
    this.events++;
  }

  order(): string {
    return this.#order.copy().digest('hex');
  }

  summary(): LogDigest {
    const hash = createHash('sha256');
    for (const streamId of [...this.streams.keys()].sort()) {
      const { events, digest } = this.streams.get(streamId) as { events: number; digest: Buffer };
      hash.update(`${JSON.stringify(streamId)} ${events} ${digest.toString('hex')}\n`);
    }
    return { events: this.events, streams: this.streams.size, sha256: hash.digest('hex') };
  }
}

/** The same text for the same event, wherever it stands and whenever it was recorded there. */
const lineOf = ({ streamId, revision, id, type, schemaVersion, data, metadata }: RecordedEvent): string =>
  JSON.stringify([streamId, revision, id.toLowerCase(), type, schemaVersion, sorted(data), sorted(metadata)]);

/** No adapter promises to keep the order of an object's fields. */
function sorted(value: Json | undefined): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return (value as readonly Json[]).map(sorted);
  const fields = Object.entries(value as Readonly<Record<string, Json | undefined>>);
  fields.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(fields.map(([key, inner]) => [key, sorted(inner)]));
}
