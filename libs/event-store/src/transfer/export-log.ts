import { notFound } from '#lib/platform';
import type { EventStore, Position, RecordedEvent } from '../event-store.js';
import { Content, eventLine, LOG_FILE_FORMAT, type LogFileFooter, type LogFileHeader } from './format.js';

export interface ExportOptions {
  readonly store: EventStore;
  /** The exported log, in words, for the header. */
  readonly from: string;
  /** Only these streams, each complete; default all, in the order of the log. */
  readonly streams?: readonly string[];
  /** Only events after this position. */
  readonly after?: Position;
  readonly onProgress?: (events: number) => void;
  readonly signal?: AbortSignal;
}

const PAGE = 1_000;

/**
 * The lines of a log file, without newlines, using only the port: the header, the events up to where the log ended when
 * the export began, the footer (which it also returns). Writers are not blocked; events that they add meanwhile are
 * left out, so the file has a prefix of each stream.
 *
 * @throws WaylogError `log.no-such-stream`, before any line
 */
export async function* exportLog(options: ExportOptions): AsyncGenerator<string, LogFileFooter> {
  const { store, from, streams, after, onProgress, signal } = options;
  const until = await store.head();
  for (const streamId of streams ?? []) await mustExist(store, streamId);
  const header: LogFileHeader = {
    waylogLog: LOG_FILE_FORMAT,
    exportedAt: new Date().toISOString(),
    from,
    ...(after !== undefined && { after }),
    until,
    ...(streams && { streams }),
  };
  const content = new Content();
  const first = JSON.stringify(header);
  content.add(first);
  yield first;
  for await (const events of streams ? ofStreams(store, streams) : ofLog(store, after)) {
    signal?.throwIfAborted();
    for (const event of events) {
      if (store.compare(event.position, until) > 0) continue;
      if (after !== undefined && store.compare(event.position, after) <= 0) continue;
      const line = eventLine(event);
      content.add(line);
      content.events++;
      content.revisions.set(event.streamId, event.revision);
      yield line;
    }
    onProgress?.(content.events);
    const last = events.at(-1);
    if (!streams && last && store.compare(last.position, until) >= 0) break;
  }
  const footer = content.footer();
  yield JSON.stringify(footer);
  return footer;
}

async function* ofLog(store: EventStore, after: Position = store.beginning): AsyncGenerator<RecordedEvent[]> {
  for (let from = after; ;) {
    const page = await store.readAll({ after: from, limit: PAGE });
    const last = page.at(-1);
    if (!last) return;
    yield page;
    from = last.position;
  }
}

async function* ofStreams(store: EventStore, streams: readonly string[]): AsyncGenerator<RecordedEvent[]> {
  for (const streamId of streams) yield* store.readStream(streamId, { pageSize: PAGE });
}

export async function mustExist(store: EventStore, streamId: string): Promise<void> {
  for await (const page of store.readStream(streamId, { toRevision: 0, pageSize: 1 })) {
    if (page.length > 0) return;
  }
  throw notFound('log.no-such-stream', `The log has no stream ${streamId}. Nothing was written.`, {
    streamId,
  });
}
