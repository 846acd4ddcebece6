import { counted, unavailable } from '#lib/platform';
import { isSha256, type FileReferences, type FileStore } from '#lib/files';
import {
  filesOf,
  type EventStore,
  type JsonObject,
  type Position,
  type RecordedEvent,
  type Vocabulary,
} from '#lib/event-store';

const PAGE = 1_000;

/** Which files the events of a log need, of all contexts. Each look reads what was recorded since the one before. */
export class ReferencesInLog implements FileReferences {
  readonly #needed = new Set<string>();
  readonly #categories: readonly string[];
  readonly #types: readonly string[];
  readonly #epoch: number;
  #after: Position | undefined;
  #newest: RecordedEvent | undefined;

  constructor(
    private readonly store: EventStore,
    private readonly vocabulary: Vocabulary,
    private readonly options: {
      readonly signal?: AbortSignal;
      /** For a look that removes nothing: passes over events that cannot be read, which others report. */
      readonly skipsUnreadable?: boolean;
    } = {},
  ) {
    const known = Object.entries(vocabulary).filter(([, { files }]) => files);
    this.#categories = known.map(([category]) => category);
    this.#types = [...new Set(known.flatMap(([, { files = {} }]) => Object.keys(files)))];
    this.#epoch = store.epoch;
  }

  /** The last event that needs a file. */
  get newest(): RecordedEvent | undefined {
    return this.#newest;
  }

  /** Throws `event.unreadable` for an event that cannot be read, and `log.new-history`: what is needed is not known then. */
  async upToNow(): Promise<ReadonlySet<string>> {
    // With no context that has files, nothing is known of those that are there.
    if (this.#types.length === 0) throw noContext();
    for (let isMore = true; isMore;) {
      this.options.signal?.throwIfAborted();
      const page = await this.store.readAll({
        ...(this.#after !== undefined && { after: this.#after }),
        limit: PAGE,
        types: this.#types,
        categories: this.#categories,
      });
      for (const event of page) this.#note(event);
      this.#after = page.at(-1)?.position ?? this.#after;
      isMore = page.length === PAGE;
    }
    // A log that went back would not know of what it has lost.
    await this.store.confirm();
    if (this.store.epoch !== this.#epoch) throw otherHistory();
    return this.#needed;
  }

  #note(event: RecordedEvent): void {
    const files = filesOf(this.vocabulary, event);
    if (!files) return;
    const needed = files(this.#dataOf(event)).filter(isSha256);
    if (needed.length === 0) return;
    for (const sha256 of needed) this.#needed.add(sha256);
    this.#newest = event;
  }

  #dataOf(event: RecordedEvent): JsonObject {
    try {
      return event.data;
    } catch (error) {
      if (this.options.skipsUnreadable) return {};
      throw error;
    }
  }
}

/** What a collection has seen. */
interface Seen {
  /** The last event that needed a file; none if there was none. */
  readonly last?: { readonly streamId: string; readonly revision: number; readonly id: string };
  /** The types of events that can need files, each with its category. */
  readonly types: readonly string[];
}

const typesIn = (vocabulary: Vocabulary): string[] =>
  Object.entries(vocabulary).flatMap(([category, { files = {} }]) =>
    Object.keys(files).map((type) => `${category} ${type}`),
  );

/**
 * Throws `files.of-another-log` unless the log holds the event that the last collection of these files has seen, and
 * `files.unknown-references` unless this code knows all types of events that it knew: what another log, or one of before, or
 * events that nobody here understands need, would be removed. False if nobody has seen any event that needed one of these files.
 */
export async function refuseOtherLog(
  files: FileStore,
  store: EventStore,
  vocabulary: Vocabulary,
): Promise<boolean> {
  const seen = seenIn(await files.note());
  if (!seen) return false;
  const { last, types } = seen;
  const known = typesIn(vocabulary);
  const unknown = types.filter((type) => !known.includes(type));
  if (unknown.length > 0) throw unknownTypes(unknown);
  if (!last) return false;
  const { streamId, revision, id } = last;
  for await (const [event] of store.readStream(streamId, { fromRevision: revision, toRevision: revision }))
    if (event?.id === id) return true;
  throw otherLog({ streamId, revision });
}

/** Whether a collection has seen an event that needs one of these files. */
export const isKnownLog = async (files: FileStore): Promise<boolean> =>
  seenIn(await files.note())?.last !== undefined;

/** Throws `files.note-unreadable`. */
function seenIn(note: string | undefined): Seen | undefined {
  if (note === undefined) return undefined;
  try {
    return JSON.parse(note) as Seen;
  } catch (error) {
    throw unavailable(
      'files.note-unreadable',
      'The note in the folder for files (.note.json), which says whose files they are, cannot be read. Nothing was removed. Bring ' +
        'it back from a copy, or, if they are those of this log, say so: `waylog files gc --accept-log`.',
      {},
      error,
    );
  }
}

/** Keeps for the next collection what this one has seen, and else what the note before said. */
export async function noteSeen(
  files: FileStore,
  { newest }: ReferencesInLog,
  vocabulary: Vocabulary,
  before: string | undefined,
): Promise<void> {
  // Once all are erased no event says any more that it needed one: the one that was seen before still stands in the log.
  const last = newest
    ? { streamId: newest.streamId, revision: newest.revision, id: newest.id }
    : seenIn(before)?.last;
  const seen: Seen = { ...(last && { last }), types: typesIn(vocabulary) };
  await files.writeNote(JSON.stringify(seen));
}

/** Nobody has said yet whose files they are. */
export const strangeFiles = (files: number) =>
  unavailable(
    'files.of-another-log',
    `No event of this log needs any of these ${counted(files, 'file')}, and nobody has looked through them before: they may be those of ` +
      'another log. Nothing was removed. If they are those of this log, say so: `waylog files gc --accept-log`.',
  );

const noContext = () =>
  unavailable(
    'files.no-context',
    'No context of this application says which files its events need. Nothing was removed.',
  );

const otherHistory = () =>
  unavailable(
    'log.new-history',
    'The log is in another place, or went back, while it was read. Nothing was removed; run it again.',
  );

const unknownTypes = (types: readonly string[]) =>
  unavailable(
    'files.unknown-references',
    `Events of the types ${types.join(', ')} can need files, and this program does not know them: it is an older version, or a ` +
      'context was taken away. Nothing was removed. If their files may go, say so: `waylog files gc --accept-log`.',
    { types },
  );

const otherLog = ({ streamId, revision }: { readonly streamId: string; readonly revision: number }) =>
  unavailable(
    'files.of-another-log',
    `The log does not hold event ${revision} of ${streamId}, which needed a file when these were last looked through: it is another ` +
      'log than that of the files, or an older copy of it. Nothing was removed. If this log is the right one for good, say so: `waylog files gc --accept-log`.',
    { streamId, revision },
  );
