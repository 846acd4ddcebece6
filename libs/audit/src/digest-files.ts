import { constants } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID, type KeyObject } from 'node:crypto';
import { messageOf, WaylogError, type Queryable } from '#lib/platform';
import { checkSignature, type Digest, type Heads } from './digest.js';
import { digestsOf, storedHeads, storedNumbers } from './digests.js';

/** A digest as a file: everything that is needed to check the log against it, without the database's copy. */
interface DigestFile {
  readonly document: string;
  readonly keyId: string;
  readonly signature: string;
  /** Stream, revision and hash. */
  readonly heads: readonly (readonly [streamId: string, revision: number, hash: string])[];
}

export interface FiledDigest {
  readonly digest: Digest;
  readonly heads: Heads;
}

const fileName = (number: number): string => `digest-${String(number).padStart(6, '0')}.json`;

/** The digests for which a folder has a file, by their numbers. Throws `audit.digest-folder` if it cannot be read. */
export async function filedNumbers(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new WaylogError(
      'audit.digest-folder',
      'invalid',
      `${folder} cannot be read: ${messageOf(cause)}. Name the folder that WAYLOG_AUDIT_DIR names, or a copy of it.`,
      {},
      { cause },
    );
  });
  return names
    .flatMap((name) => /^digest-(\d{6,})\.json$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

/** A digest from a folder, or why its file cannot be read as one. */
export async function filedDigest(
  folder: string,
  number: number,
): Promise<FiledDigest | { readonly unreadable: string }> {
  try {
    const { document, keyId, signature, heads } = JSON.parse(
      await readRegularFile(join(folder, fileName(number))),
    ) as DigestFile;
    return {
      digest: { number, document, keyId, signature: Buffer.from(signature, 'base64') },
      heads: new Map(
        heads.map(([streamId, revision, hash]) => [streamId, { revision, hash: Buffer.from(hash, 'hex') }]),
      ),
    };
  } catch (error) {
    return { unreadable: messageOf(error) };
  }
}

/** An attacker who can write to the folder could turn a name into a link to any other file. */
async function readRegularFile(path: string): Promise<string> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await handle.stat()).isFile()) throw new Error('it is no regular file');
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

/**
 * Writes the digests that the folder lacks, those with a valid signature of a given key; returns how many. Existing
 * files are never overwritten, and a planted link is not followed.
 */
export async function writeDigestFiles(
  client: Queryable,
  folder: string,
  keys: ReadonlyMap<string, KeyObject>,
): Promise<number> {
  await mkdir(folder, { recursive: true });
  const there = new Set(await filedNumbers(folder));
  const lacking = (await storedNumbers(client)).filter((number) => !there.has(number));
  let written = 0;
  for (const number of lacking) {
    const [digest] = await digestsOf(client, [number]);
    if (!digest || checkSignature(keys, digest) !== 'good') continue;
    const { document, keyId, signature } = digest;
    const content: DigestFile = {
      document,
      keyId,
      signature: signature.toString('base64'),
      heads: [...(await storedHeads(client, number))].map(([streamId, { revision, hash }]) => [
        streamId,
        revision,
        hash.toString('hex'),
      ]),
    };
    const path = join(folder, fileName(number));
    // A name that cannot be predicted, created here (`wx`): nothing planted is written through.
    const part = `${path}.${randomUUID()}.part`;
    try {
      const handle = await open(part, 'wx', 0o644);
      try {
        await handle.writeFile(JSON.stringify(content));
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(part, path);
    } catch (error) {
      await rm(part, { force: true });
      throw error;
    }
    written++;
  }
  return written;
}
