import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClientBase } from 'pg';
import { readRows, WaylogError, type Queryable } from '#lib/platform';
import type { Head } from './chain.js';
import type { Digest, Heads } from './digest.js';

/** All digests in the database, in their order. */
export const storedDigests = (client: Queryable): Promise<Digest[]> => readDigests(client, 'order by number');

/** The last digest, if there is one. */
export const lastDigest = async (client: Queryable): Promise<Digest | undefined> =>
  (await readDigests(client, 'order by number desc limit 1'))[0];

async function readDigests(client: Queryable, which: string): Promise<Digest[]> {
  const rows = await readRows(
    client,
    undefined,
    `select number, document, key_id, encode(signature, 'hex') from log.digests ${which}`,
    [],
  );
  return rows.map(([number, document, keyId, signature]) => ({
    number: Number(number),
    document: document as string,
    keyId: keyId as string,
    signature: Buffer.from(signature as string, 'hex'),
  }));
}

/** The heads that a digest has noted: of the streams that had grown since the one before. */
export async function storedHeads(client: Queryable, number: number): Promise<Heads> {
  const rows = await readRows(
    client,
    undefined,
    `select stream_id, revision, encode(hash, 'hex') from log.digest_heads where digest = $1`,
    [number],
  );
  return new Map(rows.map((row) => headOf(row as [string, string, string])));
}

/** Where the chains of some streams stood at the last digest that has noted them. */
export async function lastHeads(client: Queryable, streamIds: readonly string[]): Promise<Heads> {
  const rows = await readRows(
    client,
    undefined,
    `select w.stream_id, h.revision, encode(h.hash, 'hex')
       from unnest($1::text[]) as w (stream_id)
       cross join lateral (select revision, hash from log.digest_heads h
                            where h.stream_id = w.stream_id order by digest desc limit 1) as h`,
    [streamIds],
  );
  return new Map(rows.map((row) => headOf(row as [string, string, string])));
}

const headOf = ([streamId, revision, hash]: [string, string, string]): [string, Head] => [
  streamId,
  { revision: Number(revision), hash: Buffer.from(hash, 'hex') },
];

/** Writes a digest down; part of the caller's transaction. */
export async function storeDigest(client: ClientBase, digest: Digest, heads: Heads): Promise<void> {
  await client.query(
    `insert into log.digests (number, document, key_id, signature) values ($1, $2, $3, $4)`,
    [digest.number, digest.document, digest.keyId, digest.signature],
  );
  const all = [...heads];
  for (let from = 0; from < all.length; from += 10_000) {
    const some = all.slice(from, from + 10_000);
    await client.query(
      `insert into log.digest_heads (digest, stream_id, revision, hash)
       select $1, * from unnest($2::text[], $3::integer[], $4::bytea[])`,
      [
        digest.number,
        some.map(([streamId]) => streamId),
        some.map(([, { revision }]) => revision),
        some.map(([, { hash }]) => hash),
      ],
    );
  }
}

/** A digest as a file: everything that is needed to check the log against it, without the database's copy. */
interface DigestFile {
  readonly document: string;
  readonly keyId: string;
  readonly signature: string;
  /** Stream, revision and hash. */
  readonly heads: readonly (readonly [streamId: string, revision: number, hash: string])[];
}

const fileName = (number: number): string => `digest-${String(number).padStart(6, '0')}.json`;

/** Writes the digests that the folder lacks; answers how many. A file that is there is never written again. */
export async function writeDigestFiles(client: Queryable, folder: string): Promise<number> {
  await mkdir(folder, { recursive: true });
  const there = new Set(await readdir(folder));
  let written = 0;
  for (const { number, document, keyId, signature } of await storedDigests(client)) {
    if (there.has(fileName(number))) continue;
    const heads = await storedHeads(client, number);
    const content: DigestFile = {
      document,
      keyId,
      signature: signature.toString('base64'),
      heads: [...heads].map(([streamId, { revision, hash }]) => [streamId, revision, hash.toString('hex')]),
    };
    const path = join(folder, fileName(number));
    const handle = await open(`${path}.part`, 'w', 0o644);
    try {
      await handle.writeFile(JSON.stringify(content));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(`${path}.part`, path);
    written++;
  }
  return written;
}

export interface FiledDigest {
  readonly digest: Digest;
  readonly heads: Heads;
}

/** The digests in a folder, by number. Throws `audit.digest-file` for a file that cannot be read. */
export async function digestFiles(folder: string): Promise<ReadonlyMap<number, FiledDigest>> {
  const found = new Map<number, FiledDigest>();
  const names = await readdir(folder).catch((cause: unknown) => {
    throw unreadable(folder, cause);
  });
  for (const name of names.sort()) {
    const [, number] = /^digest-(\d{6,})\.json$/.exec(name) ?? [];
    if (number === undefined) continue;
    try {
      const { document, keyId, signature, heads } = JSON.parse(
        await readFile(join(folder, name), 'utf8'),
      ) as DigestFile;
      found.set(Number(number), {
        digest: { number: Number(number), document, keyId, signature: Buffer.from(signature, 'base64') },
        heads: new Map(
          heads.map(([streamId, revision, hash]) => [streamId, { revision, hash: Buffer.from(hash, 'hex') }]),
        ),
      });
    } catch (cause) {
      throw unreadable(join(folder, name), cause);
    }
  }
  return found;
}

const unreadable = (path: string, cause: unknown) =>
  new WaylogError(
    'audit.digest-file',
    'invalid',
    `${path} cannot be read as digests of Waylog. Name the folder that WAYLOG_AUDIT_DIR names, or a copy of it.`,
    {},
    { cause },
  );
