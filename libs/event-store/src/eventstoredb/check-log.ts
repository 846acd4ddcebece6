import { END, type AllStreamRecordedEvent, type ReadPosition } from '@eventstore/db-client';
import type { JsonObject, LogProblem } from '../event-store.js';
import { decodeEvent } from './codec.js';
import type { OurEvents } from './our-events.js';
import { positionOf } from './position.js';

const PAGE = 1_000;

/** As many of each kind are named; where there are more, the detail of the last says how many. */
const NAMED = 20;

/** What the server writes behind a stream that was hard-deleted. */
const TOMBSTONE = '$streamDeleted';

/** What was seen of a stream, from its end. */
interface Stream {
  /** The lowest revision so far. */
  lowest: number;
  isOurs: boolean;
  /** Somebody else's: the last of them, and how many. */
  foreign?: { readonly revision: number; readonly type: string; count: number };
  /** The first and the last revision that are missing at the end-most gap. */
  gap?: readonly [number, number];
}

/**
 * What others have done to our streams: events that are not ours, deletions, limits that take events away, and what is missing.
 * Everything of ours is read for it, the newest first: what was done to a stream is found at its end, and where there is
 * no time for all, what is looked at is what is in use.
 */
export async function checkLog(ours: OurEvents, withinMs: number): Promise<LogProblem[]> {
  const due = performance.now() + withinMs;
  const found = new Streams(ours.categories !== undefined);
  for (let before: ReadPosition = END; ;) {
    const page = await ours.all(before, PAGE);
    for (const { event } of page) if (event) found.add(event);
    const last = page.at(-1)?.event;
    if (!last || page.length < PAGE) return found.problems(true);
    before = last.position;
    if (performance.now() >= due) {
      const detail = `what stands before position ${positionOf(last.position)} was not looked at, for want of time`;
      return [...found.problems(false), { severity: 'warning', code: 'partly-checked', detail }];
    }
  }
}

class Streams {
  /** `byName`: a stream is ours by its name, and not only where something of ours is in it. */
  constructor(private readonly byName: boolean) {}

  readonly #streams = new Map<string, Stream>();
  readonly #metadata = new Map<string, JsonObject>();
  readonly #buried = new Set<string>();

  /** The one before all that were added. */
  add(event: AllStreamRecordedEvent): void {
    const { streamId, type } = event;
    if (streamId.startsWith('$$')) {
      const of = streamId.slice(2);
      // Only the last one holds.
      if (!this.#metadata.has(of)) this.#metadata.set(of, (event.isJson ? event.data : {}) as JsonObject);
    } else if (type === TOMBSTONE) this.#buried.add(streamId);
    else this.#addEvent(event);
  }

  #addEvent(event: AllStreamRecordedEvent): void {
    const { streamId, type } = event;
    const revision = Number(event.revision);
    let stream = this.#streams.get(streamId);
    if (!stream) this.#streams.set(streamId, (stream = { lowest: revision + 1, isOurs: false }));
    if (revision < stream.lowest - 1) stream.gap ??= [revision + 1, stream.lowest - 1];
    stream.lowest = revision;
    if (decodeEvent({ event })) stream.isOurs = true;
    else if (stream.foreign) stream.foreign.count++;
    else stream.foreign = { revision, type, count: 1 };
  }

  /** `isAll`: there is nothing before what was added. */
  problems(isAll: boolean): LogProblem[] {
    const streams = [...this.#streams].filter(([, { isOurs }]) => this.byName || isOurs);
    return [
      ...named('foreign-event', streams.flatMap(foreign)),
      ...named('stream-gap', streams.flatMap(gap)),
      ...named('stream-cut-short', isAll ? streams.flatMap(beginning) : []),
      ...named('stream-tombstoned', [...this.#buried].map(tombstone)),
      ...named('stream-limit', [...this.#metadata].flatMap(limits)),
    ];
  }
}

type Found = readonly [streamId: string, detail: string];

function named(code: string, found: readonly Found[]): LogProblem[] {
  return found.slice(0, NAMED).map(([streamId, detail], i) => {
    const more = i === NAMED - 1 && found.length > NAMED ? ` (${found.length} streams in all)` : '';
    return { severity: 'error', code, streamId, detail: detail + more };
  });
}

function foreign([streamId, { foreign, lowest, isOurs }]: readonly [string, Stream]): Found[] {
  if (!foreign) return [];
  const { revision, type, count } = foreign;
  const others = count > 1 ? `, and ${count - 1} before it` : '';
  const whole = isOurs || lowest > 0 ? '' : '; nothing in it is';
  return [
    [streamId, `has at revision ${revision} an event that is not of Waylog (${type})${others}${whole}`],
  ];
}

const gap = ([streamId, { gap }]: readonly [string, Stream]): Found[] =>
  gap ? [[streamId, `lacks revisions ${gap[0]} to ${gap[1]}`]] : [];

const beginning = ([streamId, { lowest }]: readonly [string, Stream]): Found[] =>
  lowest > 0 ? [[streamId, `begins with revision ${lowest}: what was before it was taken away`]] : [];

const tombstone = (streamId: string): Found => [
  streamId,
  'was hard-deleted, and can never be written or read again',
];

/** What of a stream's metadata takes events away, at once for whoever reads the stream, and for good with the next scavenge. */
const LIMITS = ['$maxCount', '$maxAge', '$tb'] as const;

function limits([streamId, metadata]: readonly [string, JsonObject]): Found[] {
  if (Number(metadata['$tb']) > Number.MAX_SAFE_INTEGER)
    return [[streamId, 'was deleted: who reads it finds nothing, and a scavenge takes its events away']];
  const set = LIMITS.filter((name) => Number(metadata[name] ?? 0) > 0);
  if (set.length === 0) return [];
  const texts = set.map((name) => `${name} ${JSON.stringify(metadata[name])}`);
  return [[streamId, `has ${texts.join(', ')} in its metadata, which takes its events away`]];
}
