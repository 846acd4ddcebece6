import { createHash } from 'node:crypto';
import { sortedJson, unavailable } from '#lib/platform';
import type { AppendRequest, EventStore, Position, RecordedEvent } from '../event-store.js';
import { mustExist } from './export-log.js';
import { newEventOf } from './format.js';
import { Patience } from './patience.js';

export interface CopyOptions {
  /** Opened with `asRecorded`, like the target: events are copied as they were written. */
  readonly from: EventStore;
  readonly to: EventStore;
  /** Only these streams; default all. */
  readonly streams?: readonly string[];
  /**
   * `log`: the order of the source, also between streams. `stream`: each stream in its own order, and events that are
   * more than 1,000 apart in the source keep their order in the target; several streams are written at once.
   */
  readonly order?: 'log' | 'stream';
  /** Called with how many events have passed each step, and the total, if known. */
  readonly onProgress?: (step: 'copying' | 'comparing', events: number, total: number | undefined) => void;
  /** Called when one of the logs does not answer and the copy waits for it, and when it continues. */
  readonly onWarning?: (message: string) => void;
  /** How long to wait for a log that does not answer; default two minutes. */
  readonly patienceMs?: number;
  readonly signal?: AbortSignal;
}

/** A stream that differs between the two logs. */
export interface StreamDifference {
  readonly streamId: string;
  /** Its events up to where the source ended when the copy began. */
  readonly source: number;
  readonly target: number;
  /** `gap`: the source lacks the event after those; later events were not copied. */
  readonly what: 'missing' | 'shorter' | 'longer' | 'other events' | 'gap';
}

export interface LogDigest {
  readonly events: number;
  readonly streams: number;
  /**
   * A hash over the streams in the order of their ids: for each its id and its events' revisions, ids, types, versions,
   * contents.
   */
  readonly sha256: string;
}

export interface CopyResult {
  /** Events that were added to the target. */
  readonly recorded: number;
  /** Events that the target already had. */
  readonly already: number;
  readonly source: LogDigest;
  /** Of the same streams. */
  readonly target: LogDigest;
  /** Whether the events of all these streams are in the same order in both logs. */
  readonly sameOrder: boolean;
  /** Nothing was written to a stream of which the target has other events. */
  readonly differences: readonly StreamDifference[];
  readonly identical: boolean;
}

const PAGE = 1_000;
const PATIENCE_MS = 120_000;
/** The size of one append: a node of EventStoreDB accepts 1 MiB. */
const APPEND_EVENTS = 500;
const APPEND_BYTES = 400_000;
/** How many appends are in progress at once if the target keeps their order. */
const APPENDS_AT_ONCE = 64;

/**
 * Copies a log, event by event, using only the port: what the source held when the copy began, in the source's order,
 * so that the target's order is the same; or, by `order`, several streams at once. Each append expects the revision
 * that its events have and keeps their ids. So copying again records nothing twice, and continues an interrupted copy.
 * Then the target is read back and compared by hash.
 *
 * Writers to the source are not blocked; events that they add meanwhile are for the next run. A stream that has other
 * events in the target is left as it is and reported as a difference. The copy waits for a log that does not answer, as
 * when a cluster has no leader. Memory grows with the number of streams, not of events.
 *
 * @throws WaylogError `log.no-such-stream`, before anything is written; `log.order-lost` if the target has changed the
 * order
 */
export async function copyLog(options: CopyOptions): Promise<CopyResult> {
  const { from, to, streams, signal, order = 'log', onProgress = () => undefined } = options;
  const patience = new Patience(options.patienceMs ?? PATIENCE_MS, options.onWarning, signal);
  const [source, there] = [new PatientReads(from, patience), new PatientReads(to, patience)];
  const until = await source.head();
  for (const streamId of streams ?? []) await mustExist(from, streamId);
  // EventStoreDB counts only so far; beyond that the total is unknown.
  const about = await patience.with(async () => (await from.backlog(from.beginning)).events);
  const content = new LogContent();
  const target = new TargetStreams(from, to, patience, order);
  for await (const page of ahead(source.pages(until, streams))) {
    signal?.throwIfAborted();
    const whole = page.filter((event) => content.addNext(event));
    if (order === 'stream') await target.putSideBySide(byStream(whole));
    else if (to.appendsInOrder) for (const runs of windowsOf(whole)) await target.put(runs);
    else for (const run of runsOf(whole)) await target.put([run]);
    onProgress('copying', content.events, streams || content.events > about ? undefined : about);
  }
  const copy = new LogContent();
  const differences = new Map<string, StreamDifference>();
  let longer = 0;
  for await (const page of ahead(there.pages(await there.head(), streams))) {
    signal?.throwIfAborted();
    for (const event of page) {
      const copied = content.of(event.streamId);
      if (copied === undefined) continue;
      if (event.revision < copied.events) copy.add(event);
      else {
        longer++;
        const { streamId, revision } = event;
        const counts = { source: copied.events, target: revision + 1 };
        differences.set(streamId, { streamId, ...counts, what: 'longer' });
      }
    }
    onProgress('comparing', copy.events + longer, longer > 0 ? undefined : content.events);
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
  for (const streamId of content.gaps) {
    const events = content.of(streamId)?.events ?? 0;
    differences.set(streamId, {
      streamId,
      source: events,
      target: copy.of(streamId)?.events ?? 0,
      what: 'gap',
    });
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

/** Reads of a log that wait if it does not answer. */
class PatientReads {
  constructor(
    private readonly store: EventStore,
    private readonly patience: Patience,
  ) {}

  head(): Promise<string> {
    return this.patience.with(() => this.store.head());
  }

  /** The events up to a position: of the whole log in its order, or of streams one after another. */
  async *pages(until: string, streams: readonly string[] | undefined): AsyncGenerator<RecordedEvent[], void> {
    const { store } = this;
    const within = (page: RecordedEvent[]) =>
      page.filter(({ position }) => store.compare(position, until) <= 0);
    for (const streamId of streams ?? []) for await (const page of this.#stream(streamId)) yield within(page);
    if (streams) return;
    for (let after = store.beginning; store.compare(after, until) < 0;) {
      const page = await this.patience.with(() => store.readAll({ after, limit: PAGE }));
      const last = page.at(-1);
      if (!last) return;
      yield within(page);
      after = last.position;
    }
  }

  async *#stream(streamId: string): AsyncGenerator<RecordedEvent[], void> {
    for (let fromRevision = 0; ;) {
      const page = await this.patience.with(() => this.#firstPage(streamId, fromRevision));
      const last = page?.at(-1);
      if (!page || !last) return;
      yield page;
      fromRevision = last.revision + 1;
    }
  }

  async #firstPage(streamId: string, fromRevision: number): Promise<RecordedEvent[] | undefined> {
    for await (const page of this.store.readStream(streamId, { fromRevision, pageSize: PAGE })) return page;
    return undefined;
  }
}

/** The same pages; each is fetched while the previous one is processed. */
async function* ahead<T>(pages: AsyncGenerator<T, void>): AsyncGenerator<T> {
  let next = pages.next();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done) return;
      next = pages.next();
      // If the consumer stops early, the failure of this page must not become an unhandled rejection.
      next.catch(() => undefined);
      yield value;
    }
  } finally {
    await next.catch(() => undefined);
  }
}

function byStream(page: readonly RecordedEvent[]): Iterable<RecordedEvent[]> {
  const streams = new Map<string, RecordedEvent[]>();
  for (const event of page) {
    const of = streams.get(event.streamId);
    if (of) of.push(event);
    else streams.set(event.streamId, [event]);
  }
  return streams.values();
}

const bytesOf = ({ data, metadata }: RecordedEvent): number =>
  Buffer.byteLength(JSON.stringify([data, metadata]));

/** Consecutive events of one stream that fit into one append. */
function* runsOf(page: readonly RecordedEvent[]): Generator<RecordedEvent[]> {
  let run: RecordedEvent[] = [];
  let bytes = 0;
  for (const event of page) {
    const length = bytesOf(event);
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

/** Runs that can be in progress at once; a large event alone. */
function* windowsOf(page: readonly RecordedEvent[]): Generator<RecordedEvent[][]> {
  let runs: RecordedEvent[][] = [];
  for (const run of runsOf(page)) {
    const isLarge = bytesOf(run[0] as RecordedEvent) > APPEND_BYTES;
    if (runs.length > 0 && (isLarge || runs.length === APPENDS_AT_ONCE)) {
      yield runs;
      runs = [];
    }
    if (isLarge) yield [run];
    else runs.push(run);
  }
  if (runs.length > 0) yield runs;
}

const streamOf = (run: readonly RecordedEvent[]): string => (run[0] as RecordedEvent).streamId;

const orderLost = (streamId: string, position: Position, reached: Position) =>
  unavailable(
    'log.order-lost',
    `The target has put an event of ${streamId} at position ${position}, before position ${reached} of what was sent earlier, as ` +
      `when its leader changes. The order of the log can no longer be kept there: copy to an empty store, or with --order streams.`,
    { streamId, position, reached },
  );

/** What the target has of each stream that the copy has reached. */
class TargetStreams {
  recorded = 0;
  already = 0;
  /** The last revision up to which both agree. */
  readonly #same = new Map<string, number>();
  /** Streams in which the target has something else. */
  readonly #other = new Set<string>();
  /** The last event that was recorded. */
  #reached: Position | undefined;

  constructor(
    private readonly from: EventStore,
    private readonly to: EventStore,
    private readonly patience: Patience,
    private readonly order: 'log' | 'stream',
  ) {}

  isOther(streamId: string): boolean {
    return this.#other.has(streamId);
  }

  /** Records events of several streams, the appends of each stream one after another. */
  async putSideBySide(streams: Iterable<readonly RecordedEvent[]>): Promise<void> {
    const inTurn = async (events: readonly RecordedEvent[]) => {
      for (const run of runsOf(events)) await this.put([run]);
    };
    const puts = [...streams].map(inTurn);
    // Wait for all of them, even if one has failed: nothing must continue after this call has ended.
    await Promise.allSettled(puts);
    await Promise.all(puts);
  }

  /** Records runs in this order, except for events that are already there. */
  async put(runs: readonly (readonly RecordedEvent[])[]): Promise<void> {
    // Checked before appending after existing events: an append that repeats ids would be taken for the same events.
    const unmet = new Set(runs.map(streamOf).filter((streamId) => !this.#same.has(streamId)));
    await Promise.all([...unmet].map((streamId) => this.#meet(streamId)));
    let recorded = 0;
    // A second round is needed if another client writes to the target meanwhile.
    for (let open = this.#missing(runs); open.length > 0; open = this.#missing(runs)) {
      this.patience.signal?.throwIfAborted();
      recorded += await this.#append(open);
    }
    const there = runs.map((run) => run.filter((event) => !this.#isMissing(event)).length);
    this.recorded += recorded;
    this.already += there.reduce((sum, events) => sum + events, -recorded);
  }

  /** How many events it has recorded. */
  async #append(runs: readonly (readonly RecordedEvent[])[]): Promise<number> {
    const requests = runs.map((run): AppendRequest => {
      const { streamId, revision } = run[0] as RecordedEvent;
      const expectedRevision = revision === 0 ? 'no-stream' : revision - 1;
      return { streamId, expectedRevision, events: run.map(newEventOf) };
    });
    let attempts = 0;
    const outcomes = await this.patience.with(() => {
      attempts++;
      return this.to.append(requests);
    });
    let recorded = 0;
    for (const [i, run] of runs.entries()) {
      const outcome = outcomes[i];
      if (!outcome?.accepted) {
        await this.#meet(streamOf(run));
        continue;
      }
      this.#same.set(streamOf(run), (run.at(-1) as RecordedEvent).revision);
      // Events found at the second attempt were recorded by the first, whose answer was lost.
      if (outcome.repeated && attempts === 1) continue;
      recorded += run.length;
      this.#mustFollow(streamOf(run), outcome.positions);
    }
    return recorded;
  }

  /** Checks that in the target each event comes after those that were recorded before it. */
  #mustFollow(streamId: string, positions: readonly Position[]): void {
    const [first, last] = [positions[0], positions.at(-1)];
    if (this.order === 'stream' || first === undefined || last === undefined) return;
    if (this.#reached !== undefined && this.to.compare(first, this.#reached) <= 0)
      throw orderLost(streamId, first, this.#reached);
    this.#reached = last;
  }

  #missing(runs: readonly (readonly RecordedEvent[])[]): RecordedEvent[][] {
    const open = runs.filter((run) => !this.#other.has(streamOf(run)));
    return open.map((run) => run.filter(this.#isMissing)).filter((run) => run.length > 0);
  }

  readonly #isMissing = ({ streamId, revision }: RecordedEvent): boolean =>
    revision > (this.#same.get(streamId) ?? -1);

  #meet(streamId: string): Promise<void> {
    return this.patience.with(() => this.#compare(streamId));
  }

  /** Compares a stream in the target with the source, from the beginning. */
  async #compare(streamId: string): Promise<void> {
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
  /** Streams that lack an event. */
  readonly gaps = new Set<string>();
  readonly #order = createHash('sha256');

  of(streamId: string) {
    return this.streams.get(streamId);
  }

  /** Adds the next event of its stream. Returns false if the stream lacks one before it, and from then on. */
  addNext(event: RecordedEvent): boolean {
    const { streamId, revision } = event;
    if (revision !== (this.of(streamId)?.events ?? 0)) this.gaps.add(streamId);
    if (this.gaps.has(streamId)) return false;
    this.add(event);
    return true;
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

/** The same text for the same event, whatever its position and time of recording. */
const lineOf = ({ streamId, revision, id, type, schemaVersion, data, metadata }: RecordedEvent): string =>
  sortedJson([streamId, revision, id.toLowerCase(), type, schemaVersion, data, metadata]);
