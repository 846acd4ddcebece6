import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Decider, Vocabulary } from '#lib/event-store';

// Albums of pictures that are erased after a while.

export type AlbumEvent = { readonly type: 'Stored' | 'Erased'; readonly data: { readonly sha256: string } };
export interface Album {
  readonly isErased: boolean;
}

export const album: Decider<Album, AlbumEvent> = {
  version: 1,
  initialState: () => ({ isErased: false }),
  evolve: ({ isErased }, { type }) => ({ isErased: isErased || type === 'Erased' }),
  fork: (state) => state,
  sizeOf: () => 100,
};

export const albums: Vocabulary = {
  album: {
    sensitive: { Stored: { sha256: 'erased' } },
    erasedBy: ['Erased'],
    files: { Stored: ({ sha256 }) => [sha256] },
  },
};

export interface FoundFile {
  readonly name: string;
  readonly isWhole: boolean;
}

/**
 * Every file at its place under a folder, and whether its bytes are those of its name, as `sha256sum` would find: this uses
 * nothing of what stores them.
 */
export async function filesAt(folder: string): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const { name, parentPath } of entries.filter((entry) => entry.isFile())) {
    const relative = parentPath.slice(folder.length + 1);
    if (relative.startsWith('.') || name.startsWith('.')) continue;
    const hash = createHash('sha256');
    for await (const piece of createReadStream(join(parentPath, name))) hash.update(piece as Buffer);
    const isInPlace = relative === join(name.slice(0, 2), name.slice(2, 4));
    found.push({ name, isWhole: isInPlace && hash.digest('hex') === name });
  }
  return found;
}
