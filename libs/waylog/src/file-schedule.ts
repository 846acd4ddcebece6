import type pg from 'pg';
import { verifyFiles, type Files } from '#lib/files';
import { erasingTypes, type EventStore, type Position, type Vocabulary } from '#lib/event-store';
import { Background, counted, isAborted, messageOf, pause } from '#lib/platform';
import { collectFiles, FILES_GRACE_MS } from './collect-files.js';
import { isKnownLog, ReferencesInLog } from './file-references.js';

export interface FileScheduleOptions {
  readonly files: Files;
  readonly store: EventStore;
  readonly vocabulary: Vocabulary;
  readonly pool: pg.Pool;
  /** Between two collections; 0 for never. */
  readonly everyMs: number;
  readonly graceMs?: number;
  /** How often it looks whether something was erased: its files do not wait until the next collection is due. */
  readonly lookMs?: number;
  readonly log: { info(message: string): void; warn(message: string): void };
}

/** How the files stood when they were last collected. */
export interface FilesStanding {
  readonly files: number;
  readonly bytes: number;
  readonly missing: number;
}

/** How collections went. */
export interface CollectionStanding {
  /** Why the last one failed; undefined if it did not. */
  readonly problem?: string;
}

const LOOK_MS = 60_000;

/**
 * Removes the files that no event needs, again and again, and looks whether those that are needed are there. Any number of
 * processes can run one: what two do at a time is only done twice.
 */
export class FileSchedule {
  readonly #background = new Background((signal) => this.#run(signal));
  readonly #options: FileScheduleOptions;
  readonly #erasing: { readonly categories: readonly string[]; readonly types: readonly string[] };
  #standing: FilesStanding | undefined;
  #failure: string | undefined;
  /** Up to where the log was searched for erasures. */
  #after: Position | undefined;

  constructor(options: FileScheduleOptions) {
    this.#options = options;
    const [categories, types] = erasingTypes(options.vocabulary);
    this.#erasing = { categories: [...new Set(categories)], types: [...new Set(types)] };
  }

  /** undefined until it was first looked, and where no files are kept. */
  get standing(): FilesStanding | undefined {
    return this.#standing;
  }

  /** undefined where this process collects nothing. */
  get collection(): CollectionStanding | undefined {
    const { files, everyMs } = this.#options;
    if (!files.areKept || everyMs === 0) return undefined;
    return this.#failure === undefined ? {} : { problem: this.#failure };
  }

  start(): void {
    if (this.#options.files.areKept && this.#options.everyMs > 0) this.#background.start();
  }

  /** Finishes the batch in progress. */
  stop(): Promise<void> {
    return this.#background.stop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { everyMs, lookMs = LOOK_MS, log } = this.#options;
    // Not with the start: many processes may start together, and have better things to do.
    let due = performance.now() + Math.min(everyMs, lookMs);
    for (;;) {
      await pause(Math.min(everyMs, lookMs), signal);
      if (isAborted(signal)) return;
      try {
        if (performance.now() < due && !(await this.#wasErased()) && !(await this.#isFirst())) continue;
        await this.#collect(signal);
        this.#failure = undefined;
      } catch (error) {
        if (isAborted(signal)) return;
        this.#failure = messageOf(error);
        log.warn(`Files that no event needs were not removed: ${this.#failure}`);
      }
      due = performance.now() + everyMs;
    }
  }

  /** Whether there are files that were not looked through yet: until then nothing says whose they are. */
  async #isFirst(): Promise<boolean> {
    const { store } = this.#options.files;
    if (this.#failure !== undefined || (await isKnownLog(store))) return false;
    for await (const _ of store.list()) return true;
    return false;
  }

  /** Whether something was erased since it was last asked. */
  async #wasErased(): Promise<boolean> {
    const { store } = this.#options;
    const head = await store.head();
    const [erasure] = await store.readAll({
      ...this.#erasing,
      after: this.#after ?? head,
      limit: 1,
    });
    this.#after = head;
    return erasure !== undefined;
  }

  async #collect(signal: AbortSignal): Promise<void> {
    const { files, store, vocabulary, pool, graceMs = FILES_GRACE_MS, log } = this.#options;
    this.#after = await store.head();
    const options = { store, vocabulary, pool, graceMs, signal };
    const { removed, unneeded } = await collectFiles(files.store, options);
    if (removed.length > 0)
      log.info(`Removed ${counted(removed.length, 'file')} of ${unneeded.bytes} bytes, which no event needs`);
    const references = new ReferencesInLog(store, vocabulary, { signal, skipsUnreadable: true });
    const found = await verifyFiles(files.store, references, { withoutReading: true, signal });
    this.#standing = { files: found.files, bytes: found.bytes, missing: found.missing.length };
    if (found.missing.length > 0)
      log.warn(
        `${counted(found.missing.length, 'file')} that events need are not there, the first is ${found.missing[0] ?? ''}: see \`waylog files verify\``,
      );
  }
}
