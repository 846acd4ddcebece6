import { conflict, WaylogError, counted } from '#lib/platform';
import { CLAIM } from '../decisions/claims.js';
import type { AppendOutcome, EventStore } from '../event-store.js';
import { schemaVersionOf } from '../upcasting.js';
import { filesOf, knownEventsOf, type Vocabulary } from '../vocabulary.js';
import {
  Content,
  damaged,
  newEventOf,
  parseEvent,
  parseFooter,
  parseHeader,
  type FileEvent,
  type LogFileFooter,
  type LogFileHeader,
} from './format.js';
import { linesOf } from './lines.js';

export interface ReadOptions {
  readonly file: string;
  /** The event versions that this code knows: newer ones are refused. */
  /** What this code knows: a file with an event that is newer is refused. */
  readonly vocabulary: Vocabulary;
  /** Called with the number of bytes read. */
  readonly onProgress?: (step: 'checking the file' | 'importing', bytes: number) => void;
  readonly signal?: AbortSignal;
}

export interface ImportOptions extends ReadOptions {
  readonly store: EventStore;
}

/** A stream in the file that the store already has with other events, or whose beginning it lacks. */
export interface ImportConflict {
  readonly streamId: string;
  /** The first revision at which they differ. */
  readonly revision: number;
  /** Of the file. */
  readonly line: number;
  readonly reason: string;
}

export interface ImportResult {
  readonly header: LogFileHeader;
  readonly events: number;
  readonly streams: number;
  /** Events that were added to the store. */
  readonly recorded: number;
  /** Events that the store already had. */
  readonly already: number;
  /** Events of streams with a conflict, which were left out. */
  readonly skipped: number;
  readonly conflicts: readonly ImportConflict[];
  /** Streams of claims: their names are made with a secret that is not in the file, so here they keep nothing unique. */
  readonly claims: number;
  /** Events that name files which they need. Those are not in the file of the log. */
  readonly files: number;
  /** Of the last event that was recorded now. */
  readonly position?: string;
}

/** How many events or characters go to the store at once. */
const BATCH_EVENTS = 1_000;
const BATCH_CHARACTERS = 8 << 20;

/**
 * Records the events of a log file under their own stream, revision and id. Positions and times are the store's own.
 * The file is read twice: nothing is written before it has been checked to its end.
 *
 * Each append expects the revision that the event had. So importing twice records nothing twice, and continues an
 * interrupted import. A stream that has other events in the store is left as it is and reported; the others continue.
 *
 * @throws WaylogError `log-file.damaged`, `log-file.unknown-format`, `log-file.newer-than-code`
 */
export async function importLog(options: ImportOptions): Promise<ImportResult> {
  const { store, signal } = options;
  const { header, footer } = await checkLogFile(options);
  const conflicts = new Map<string, ImportConflict>();
  const count = { recorded: 0, already: 0, skipped: 0, claims: 0, files: 0 };
  let position: string | undefined;

  const flush = async (batch: readonly FileEvent[]) => {
    signal?.throwIfAborted();
    const byStream = new Map<string, FileEvent[]>();
    for (const event of batch) {
      const events = byStream.get(event.streamId);
      if (events) events.push(event);
      else byStream.set(event.streamId, [event]);
    }
    let open: FileEvent[][] = [];
    for (const [streamId, events] of byStream) {
      if (conflicts.has(streamId)) count.skipped += events.length;
      else open.push(events);
    }
    // More than one round if a stream already has some of the events, or another client writes to it meanwhile.
    while (open.length > 0) {
      const outcomes = await store.append(open.map(requestFor));
      const next: FileEvent[][] = [];
      for (const [i, events] of open.entries()) {
        const outcome = outcomes[i] as AppendOutcome;
        if (outcome.accepted) {
          count[outcome.repeated ? 'already' : 'recorded'] += events.length;
          if (!outcome.repeated) position = later(store, position, outcome.positions.at(-1));
          continue;
        }
        const found = await compareWith(store, events, outcome.currentRevision);
        count.already += found.same;
        if (found.conflict) {
          conflicts.set(found.conflict.streamId, found.conflict);
          count.skipped += events.length - found.same;
        } else if (found.same < events.length) {
          next.push(events.slice(found.same));
        }
      }
      open = next;
    }
  };

  let batch: FileEvent[] = [];
  let characters = 0;
  try {
    for await (const { event, text } of eventsOf(options, 'importing')) {
      batch.push(event);
      if (event.revision === 0 && event.streamId.startsWith(`${CLAIM}-`)) count.claims++;
      if (filesOf(options.vocabulary, event)) count.files++;
      characters += text.length;
      if (batch.length >= BATCH_EVENTS || characters >= BATCH_CHARACTERS) {
        await flush(batch);
        [batch, characters] = [[], 0];
      }
    }
  } catch (error) {
    // The first pass found it complete.
    if (!(error instanceof WaylogError) || error.code !== 'log-file.damaged') throw error;
    throw conflict(
      'log-file.changed',
      `${options.file} changed while it was being imported; ${counted(count.recorded, 'event')} had been recorded by then. Import it ` +
        `again when nobody writes to it any more: what is there already is recognised.`,
      { recorded: count.recorded },
    );
  }
  await flush(batch);
  return {
    header,
    events: footer.events,
    streams: footer.streams,
    ...count,
    conflicts: [...conflicts.values()],
    ...(position !== undefined && { position }),
  };
}

/** Reads a file to its end: returns its header if it is complete and this code can import it. */
export async function checkLogFile(
  options: ReadOptions,
): Promise<{ header: LogFileHeader; footer: LogFileFooter }> {
  const events = eventsOf(options, 'checking the file');
  for (;;) {
    const next = await events.next();
    if (next.done) return next.value;
  }
}

async function* eventsOf(
  { file, vocabulary, onProgress, signal }: ReadOptions,
  step: 'checking the file' | 'importing',
): AsyncGenerator<{ event: FileEvent; text: string }, { header: LogFileHeader; footer: LogFileFooter }> {
  const content = new Content();
  const recent = new Set<string>();
  let header: LogFileHeader | undefined;
  let footer: LogFileFooter | undefined;
  let number = 0;
  for await (const line of linesOf(file, (bytes) => onProgress?.(step, bytes))) {
    const { text } = line;
    ({ number } = line);
    if (number % 1_000 === 0) signal?.throwIfAborted();
    if (footer) throw damaged(number, 'comes after the end of the export');
    if (!header) {
      header = parseHeader(text);
      content.add(text);
      continue;
    }
    footer = parseFooter(text, number);
    if (footer) {
      const { events, streams, sha256 } = content.footer();
      if (footer.events === events && footer.streams === streams && footer.sha256 === sha256) continue;
      throw damaged(
        number,
        `says that there are ${counted(footer.events, 'event')} of ${counted(footer.streams, 'stream')} before it, with SHA-256 ${footer.sha256}. ` +
          `There are ${events} of ${streams}, with SHA-256 ${sha256}: lines are missing or were changed`,
      );
    }
    const event = parseEvent(text, number);
    mustFollow(content, event);
    mustBeNew(recent, event);
    mustBeKnown(vocabulary, event);
    content.add(text);
    content.events++;
    content.revisions.set(event.streamId, event.revision);
    yield { event, text };
  }
  if (!header) throw damaged(1, 'is missing: the file is empty');
  if (!footer)
    throw damaged(number, 'is the last one, and it is not the end of the export: the file is cut off');
  return { header, footer };
}

function mustFollow({ revisions }: Content, { streamId, revision, line }: FileEvent): void {
  const before = revisions.get(streamId);
  if (before === undefined || revision === before + 1) return;
  throw damaged(line, `has revision ${revision} of ${streamId}, after ${before}: events between are missing`);
}

/** No store accepts an id twice in one append, which would end an import half way; one append is a batch at most. */
function mustBeNew(recent: Set<string>, { streamId, id, line }: FileEvent): void {
  const key = `${id} ${streamId}`;
  if (recent.has(key)) throw damaged(line, `has the id ${id} of an event before it in ${streamId}`);
  recent.add(key);
  if (recent.size > BATCH_EVENTS) for (const oldest of recent) return void recent.delete(oldest);
}

function mustBeKnown(vocabulary: Vocabulary, { streamId, type, schemaVersion, line }: FileEvent): void {
  const ofStream = knownEventsOf(vocabulary, streamId);
  const newest = schemaVersionOf(ofStream?.upcasters, type);
  if (!ofStream || schemaVersion <= newest) return;
  throw new WaylogError(
    'log-file.newer-than-code',
    'unavailable',
    `Line ${line} of the file is an event ${type} of schema version ${schemaVersion}; this Waylog knows versions up to ` +
      `${newest}, and could not read its own log with it. Nothing was imported. Deploy the newer version of Waylog first.`,
    { line },
  );
}

function requestFor(events: readonly FileEvent[]) {
  const [first] = events;
  if (!first) throw new Error('a request has at least one event');
  return {
    streamId: first.streamId,
    expectedRevision: first.revision === 0 ? ('no-stream' as const) : first.revision - 1,
    events: events.map(newEventOf),
  };
}

/** How many of a stream's events the store has at their revisions, and what keeps the others from following them. */
async function compareWith(
  store: EventStore,
  events: readonly FileEvent[],
  current: number,
): Promise<{ same: number; conflict?: ImportConflict }> {
  const [first] = events;
  if (!first) return { same: 0 };
  const { streamId, revision } = first;
  if (current < revision - 1) {
    const has = current < 0 ? 'does not have this stream' : `has it up to revision ${current}`;
    const reason = `the file begins at revision ${revision} and the store ${has}: what is between is missing`;
    return { same: 0, conflict: { streamId, revision, line: first.line, reason } };
  }
  let same = 0;
  const toRevision = revision + events.length - 1;
  for await (const page of store.readStream(streamId, { fromRevision: revision, toRevision })) {
    for (const there of page) {
      const here = events[same];
      if (!here) break;
      if (there.id !== here.id) {
        const reason = `the store has another event there: ${there.type} ${there.id}, not ${here.type} ${here.id}`;
        return { same, conflict: { streamId, revision: here.revision, line: here.line, reason } };
      }
      same++;
    }
  }
  return { same };
}

const later = (store: EventStore, a: string | undefined, b: string | undefined): string | undefined =>
  a === undefined || (b !== undefined && store.compare(b, a) > 0) ? b : a;
