import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import type { Client } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';

/** The manifest beside each file, as JSON: enough to identify the file, and to restore its rows. */
export interface Manifest {
  readonly format: 'waylog-archive-1';
  readonly eventId: string;
  readonly table: string;
  readonly timeColumn: string;
  readonly chunk: string;
  readonly rangeStart: string;
  readonly rangeEnd: string;
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  /** The name of the file, CSV with a header, gzip. */
  readonly file: string;
  readonly rows: number;
  readonly bytes: number;
  readonly sha256: string;
  readonly rowHash: string;
  readonly writtenAt: string;
}

/** Writes the rows of a query as gzipped CSV; the file gets its name only once all of it is on disk. */
export async function writeRows(
  client: Client,
  query: string,
  path: string,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  await writeDurably(path, (partial) =>
    pipeline(
      client.query(copyTo(`copy (${query}) to stdout with (format csv, header true)`)),
      createGzip(),
      async function* (source: AsyncIterable<Buffer>) {
        for await (const part of source) {
          hash.update(part);
          bytes += part.length;
          yield part;
        }
      },
      // It holds table data: other users of this machine must not be able to read it.
      createWriteStream(partial, { flush: true, mode: 0o600 }),
    ),
  );
  return { bytes, sha256: hash.digest('hex') };
}

/** Reads such a file into a table; the header must name these columns. */
export async function readRows(client: Client, path: string, table: string, columns: string): Promise<void> {
  await pipeline(
    createReadStream(path),
    createGunzip(),
    client.query(copyFrom(`copy ${table} (${columns}) from stdin with (format csv, header match)`)),
  );
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const part of createReadStream(path) as AsyncIterable<Buffer>) hash.update(part);
  return hash.digest('hex');
}

export const manifestPath = (path: string): string => `${path}.json`;

export const writeManifest = (path: string, manifest: Manifest): Promise<void> =>
  writeDurably(manifestPath(path), (partial) =>
    writeFile(partial, JSON.stringify(manifest, null, 2) + '\n', { flush: true, mode: 0o600 }),
  );

export const readManifest = async (path: string): Promise<Manifest> =>
  JSON.parse(await readFile(manifestPath(path), 'utf8')) as Manifest;

/** Under another name first, flushed, then renamed, then the folder flushed: a kill leaves the old file or the new. */
async function writeDurably(path: string, write: (partial: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const partial = `${path}.partial`;
  await write(partial);
  await rename(partial, path);
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
