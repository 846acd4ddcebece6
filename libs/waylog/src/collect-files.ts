import type pg from 'pg';
import { collectGarbage, type CollectOptions, type Collection, type FileStore } from '#lib/files';
import { losses, type EventStore, type Vocabulary } from '#lib/event-store';
import { conflict } from '#lib/platform';
import { noteSeen, ReferencesInLog, refuseOtherLog, strangeFiles } from './file-references.js';

export interface CollectFilesOptions extends CollectOptions {
  readonly store: EventStore;
  readonly vocabulary: Vocabulary;
  readonly pool: pg.Pool;
  /** An operator says that this log is that of the files. */
  readonly acceptsLog?: boolean;
}

/** How long a file is kept that no event needs. */
export const FILES_GRACE_MS = 86_400_000;

/**
 * Removes the files that no event of the log needs. Throws `files.losses-open` while nobody has acknowledged that the log lost
 * events, `files.of-another-log`, and what makes the log unreadable: then nothing is removed, or nothing more.
 */
export async function collectFiles(
  files: FileStore,
  { store, vocabulary, pool, acceptsLog = false, ...options }: CollectFilesOptions,
): Promise<Collection> {
  const open = (await losses(pool)).filter(({ acknowledgedAt }) => acknowledgedAt === undefined);
  if (open.length > 0)
    throw conflict(
      'files.losses-open',
      'The log has lost events, which may have needed files, and nobody has acknowledged it. Nothing was removed. See `waylog log losses`: ' +
        'let clients repeat what they have sent, then acknowledge it.',
    );
  const { signal } = options;
  const references = new ReferencesInLog(store, vocabulary, signal ? { signal } : {});
  if (!acceptsLog) {
    const hasSeen = await refuseOtherLog(files, store, vocabulary);
    if (!hasSeen) refuseStrange(await collectGarbage(files, references, { ...options, isDryRun: true }));
  }
  const found = await collectGarbage(files, references, options);
  // What another log has seen is of no use once this one is said to be the right one.
  const seen = acceptsLog ? undefined : await files.note();
  if (!options.isDryRun) await noteSeen(files, references, vocabulary, seen);
  return found;
}

/** Files that nobody has looked through yet, and of which this log needs none, may be those of another one. */
function refuseStrange({ files, unneeded, young }: Collection): void {
  const isNoneNeeded = files === unneeded.files + young.files;
  if (unneeded.files > 0 && isNoneNeeded) throw strangeFiles(files);
}
