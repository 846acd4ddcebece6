import type { FileStore } from './file-store.js';

/** Which files are needed, as recorded elsewhere. */
export interface FileReferences {
  /** All that are needed now: whatever was recorded before the call is among them. It can hold more than that. */
  upToNow(): Promise<ReadonlySet<string>>;
}

export interface Collection {
  readonly files: number;
  readonly bytes: number;
  /** Of those, what nobody needs, and was put before the time. */
  readonly unneeded: { readonly files: number; readonly bytes: number };
  /** Nobody needs them, but they were put so late that somebody may be about to record it. */
  readonly young: { readonly files: number; readonly bytes: number };
  readonly removed: readonly string[];
  /** Unfinished files that were removed. */
  readonly unfinished: number;
}

export interface CollectOptions {
  /** How long a file is kept that nobody needs: its sender may be about to record that it does. */
  readonly graceMs: number;
  /** Only says what it would remove. */
  readonly isDryRun?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  readonly now?: number;
}

/** How long an unfinished file stays that nobody writes to. */
const UNFINISHED_MS = 86_400_000;
/** Files are out of sight for as long as it takes to read what was recorded since the batch before. */
const BATCH = 500;

/** Removes the files that nobody needs. Any number of processes can run it at a time, and any of them can be killed. */
export async function collectGarbage(
  store: FileStore,
  references: FileReferences,
  { graceMs, isDryRun = false, signal, onProgress, now = Date.now() }: CollectOptions,
): Promise<Collection> {
  const unfinished = isDryRun ? 0 : await store.tidy(now - UNFINISHED_MS);
  const needed = await references.upToNow();
  const [unneeded, young] = [none(), none()];
  const garbage: string[] = [];
  const all = none();
  for await (const { sha256, size, putAt } of store.list()) {
    signal?.throwIfAborted();
    add(all, size);
    if (needed.has(sha256)) continue;
    const isYoung = putAt > now - graceMs;
    add(isYoung ? young : unneeded, size);
    if (!isYoung) garbage.push(sha256);
  }
  const removed: string[] = [];
  for (let at = 0; at < garbage.length && !isDryRun; at += BATCH) {
    signal?.throwIfAborted();
    const batch = garbage.slice(at, at + BATCH);
    const removal = { putBefore: now - graceMs, needed: () => references.upToNow() };
    removed.push(...(await store.remove(batch, removal)));
    onProgress?.(Math.min(at + BATCH, garbage.length), garbage.length);
  }
  return { ...all, unneeded, young, removed, unfinished };
}

const none = () => ({ files: 0, bytes: 0 });

function add(sum: { files: number; bytes: number }, size: number): void {
  sum.files++;
  sum.bytes += size;
}
