import type { ClientBase } from 'pg';
import { readRows, type Queryable } from '#lib/platform';
import type { Head } from './chain.js';
import type { Digest, Heads } from './digest.js';

/** All digests in the database, in their order. */
export const storedDigests = (client: Queryable): Promise<Digest[]> => readDigests(client, 'order by number');

/** The digests before one, the last first, a page of them. */
export const digestsBefore = (client: Queryable, number: number, limit: number): Promise<Digest[]> =>
  readDigests(client, 'where number < $1::bigint order by number desc limit $2', [number, limit]);

/** The digest that was stored last; undefined if there is none. */
export const newestDigest = async (client: Queryable): Promise<Digest | undefined> =>
  (await readDigests(client, 'order by number desc limit 1'))[0];

/** Some digests, in their order. */
export const digestsOf = (client: Queryable, numbers: readonly number[]): Promise<Digest[]> =>
  readDigests(client, 'where number = any ($1) order by number', [numbers]);

/** The numbers of all digests in the database. */
export const storedNumbers = async (client: Queryable): Promise<number[]> =>
  (await readRows(client, undefined, `select number from log.digests order by number`, [])).map(([number]) =>
    Number(number),
  );

/** The digests after one, in their order, a page of them. */
export const digestsAfter = (client: Queryable, number: number, limit: number): Promise<Digest[]> =>
  readDigests(client, 'where number > $1 order by number limit $2', [number, limit]);

/** The digests that claim to record a break. */
export const digestsWithBreak = (client: Queryable): Promise<Digest[]> =>
  readDigests(client, `where position('"break":{' in document) > 0 order by number`);

// A row with missing values is read as an unsigned digest.
async function readDigests(client: Queryable, which: string, values: unknown[] = []): Promise<Digest[]> {
  const rows = await readRows(
    client,
    undefined,
    `select number, coalesce(document, ''), coalesce(key_id, ''), coalesce(encode(signature, 'hex'), '') from log.digests ${which}`,
    values,
  );
  return rows.map(([number, document, keyId, signature]) => ({
    number: Number(number),
    document: document as string,
    keyId: keyId as string,
    signature: Buffer.from(signature as string, 'hex'),
  }));
}

/** The heads stored with a digest: of the streams that had grown since the one before. */
export async function storedHeads(client: Queryable, number: number): Promise<Heads> {
  const rows = await readRows(
    client,
    undefined,
    `select coalesce(stream_id, ''), coalesce(revision, -1), coalesce(encode(hash, 'hex'), '') from log.digest_heads where digest = $1`,
    [number],
  );
  return new Map(rows.map((row) => headOf(row as [string, string, string])));
}

/** The last digest up to a number that has a head of each of some streams. */
export async function notedLast(
  client: Queryable,
  streamIds: readonly string[],
  upTo: number,
): Promise<ReadonlyMap<string, number>> {
  const rows = await readRows(
    client,
    undefined,
    `select w.stream_id, h.digest
       from unnest($1::text[]) as w (stream_id)
       cross join lateral (select digest from log.digest_heads h
                            where h.stream_id = w.stream_id and digest <= $2 order by digest desc limit 1) as h`,
    [streamIds, upTo],
  );
  return new Map(rows.map(([streamId, digest]) => [streamId as string, Number(digest)]));
}

const headOf = ([streamId, revision, hash]: [string, string, string]): [string, Head] => [
  streamId,
  { revision: Number(revision), hash: Buffer.from(hash, 'hex') },
];

/** Stores a digest, in the caller's transaction. */
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
