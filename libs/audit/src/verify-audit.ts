import type { KeyObject } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';
import { databaseCall, readRows, type Timestamp } from '#lib/platform';
import type { Head } from './chain.js';
import {
  checkSignature,
  hashOfDocument,
  hashOfHeads,
  statementOf,
  type Digest,
  type DigestStatement,
  type Heads,
} from './digest.js';
import { digestFiles, storedDigests, storedHeads, type FiledDigest } from './digests.js';
import type { AuditProblem } from './explain.js';
import { readEvents } from './read-events.js';
import { ChainWalk } from './walk.js';

export interface AuditOptions {
  readonly pool: Pool;
  /** Public keys by id. Without any, signatures are not checked, and the result says so. */
  readonly keys: ReadonlyMap<string, KeyObject>;
  /** A folder with digests as files, which the database's copies are compared with. */
  readonly digestFolder?: string | undefined;
  /** The types of the events after which a stream must have no data key any more. */
  readonly erasedBy?: readonly string[];
  readonly signal?: AbortSignal;
  readonly onProgress?: (events: number, total: number) => void;
}

export interface AuditResult {
  readonly isSound: boolean;
  readonly events: number;
  readonly streams: number;
  /** How many digests there are, and how many of them carry a good signature of a known key. */
  readonly digests: number;
  readonly signed: number;
  /** Up to where and when the log is vouched for by a signature; absent where no digest is good. */
  readonly vouchedPosition?: string;
  readonly vouchedAt?: Timestamp;
  readonly problems: readonly AuditProblem[];
}

interface Anchor {
  readonly digest: Digest;
  readonly said: DigestStatement;
  readonly heads: Heads;
  /** The last position that it covers. */
  readonly position: bigint;
  readonly isSigned: boolean;
}

/** How many streams of one digest are named. */
const NAMED = 100;

/**
 * Follows the chain of every stream from the first event on, and compares it with what each digest has noted. The hashes are
 * made here, from the rows as they are; nothing of the database is trusted but that it shows what it would show to all.
 */
export async function verifyAudit(options: AuditOptions): Promise<AuditResult> {
  const { pool, keys, digestFolder, signal } = options;
  const filed = digestFolder === undefined ? new Map<number, FiledDigest>() : await digestFiles(digestFolder);
  const client = await databaseCall(() => pool.connect());
  try {
    await client.query('begin isolation level repeatable read read only');
    await client.query('set local statement_timeout = 0');
    const { rows } = await client.query<{ total: string }>(
      `select coalesce(max(position), 0) as total from log.events`,
    );
    const total = Number(rows[0]?.total);
    const problems: AuditProblem[] = [];
    const digests = merged(await storedDigests(client), filed, problems);
    const headsOf = (number: number) => filed.get(number)?.heads ?? storedHeads(client, number);
    const anchors = chained(digests, keys, problems);

    const walk = new ChainWalk('0');
    const erased = new Set<string>();
    let events = 0;
    let signed = 0;
    let vouched: DigestStatement | undefined;
    let next = anchors.shift();
    const compare = async () => {
      if (!next) return;
      const anchor: Anchor = { ...next, heads: await headsOf(next.digest.number) };
      const found = againstDigest(anchor, walk);
      problems.push(...found);
      if (anchor.isSigned) {
        signed++;
        if (found.length === 0) vouched = anchor.said;
      }
      next = anchors.shift();
    };
    for await (const page of readEvents(client, '0')) {
      signal?.throwIfAborted();
      for (const event of page) {
        while (next && BigInt(event.position) > next.position) await compare();
        walk.follow(event);
        if (options.erasedBy?.includes(event.type)) erased.add(event.streamId);
      }
      events += page.length;
      options.onProgress?.(events, total);
    }
    while (next) await compare();
    problems.push(...(await keysLeft(client, [...erased])));
    const broken = walk.problems();
    return {
      isSound: broken.length + problems.length === 0,
      events,
      streams: walk.streams,
      digests: digests.length,
      signed,
      ...(vouched && { vouchedPosition: vouched.position, vouchedAt: vouched.takenAt }),
      problems: [...broken, ...problems],
    };
  } finally {
    await client.query('rollback').catch(() => undefined);
    client.release();
  }
}

/** Streams that were erased and whose key is there: a process was killed in between, or a backup has brought it back. */
async function keysLeft(client: ClientBase, erased: readonly string[]): Promise<AuditProblem[]> {
  const rows = await readRows(
    client,
    undefined,
    `select stream_id from log.data_keys where stream_id = any ($1::text[]) order by 1`,
    [erased],
  );
  return rows.map(([streamId]) => ({
    code: 'key-left',
    streamId: streamId as string,
    detail: 'it was erased, and the key that opens what was sensitive is there: erase it again',
  }));
}

/** The digests of the database and of the folder; where they differ, the file counts. */
function merged(
  stored: readonly Digest[],
  filed: ReadonlyMap<number, FiledDigest>,
  problems: AuditProblem[],
): Digest[] {
  const byNumber = new Map(stored.map((digest) => [digest.number, digest]));
  for (const [number, { digest }] of filed) {
    const inDatabase = byNumber.get(number);
    if (!inDatabase) {
      problems.push({
        code: 'digest-removed',
        detail: `digest ${number} is in the folder, but not in the database any more`,
      });
    } else if (inDatabase.document !== digest.document) {
      problems.push({
        code: 'digest-changed',
        detail: `digest ${number} of the database is not that in the folder`,
      });
    }
    byNumber.set(number, digest);
  }
  return [...byNumber.values()].sort((a, b) => a.number - b.number);
}

/** The digests that say something, each following the one before, with what is wrong with the others. */
function chained(
  digests: readonly Digest[],
  keys: ReadonlyMap<string, KeyObject>,
  problems: AuditProblem[],
): Omit<Anchor, 'heads'>[] {
  const anchors: Omit<Anchor, 'heads'>[] = [];
  let before: Digest | undefined;
  for (const digest of digests) {
    const { number } = digest;
    const expected = (before?.number ?? 0) + 1;
    if (number !== expected) {
      const last = number - 1;
      problems.push({
        code: 'digest-removed',
        detail:
          expected === last ? `digest ${expected} is missing` : `digests ${expected} to ${last} are missing`,
      });
    }
    const said = statementOf(digest.document);
    const previous = before ? hashOfDocument(before.document) : null;
    const signature = keys.size === 0 ? 'unchecked' : checkSignature(keys, digest);
    if (!said || said.number !== number || signature === 'bad') {
      problems.push({ code: 'digest-changed', detail: `digest ${number} is not what its key has signed` });
    } else {
      if (number === expected && said.previous !== previous) {
        problems.push({
          code: 'digest-changed',
          detail: `digest ${number} does not follow digest ${number - 1} as it is now: one of them was replaced`,
        });
      }
      if (signature === 'unknown-key') {
        problems.push({
          code: 'digest-unsigned',
          detail: `digest ${number} is signed by the key ${digest.keyId}, which is none of those given: give its public half as well, or it is a forgery`,
        });
      }
      anchors.push({ digest, said, position: BigInt(said.position), isSigned: signature === 'good' });
    }
    before = digest;
  }
  return anchors.sort((a, b) => (a.position < b.position ? -1 : 1));
}

/** What of the log up to a digest's position is not as the digest has noted it. */
function againstDigest({ digest, said, heads }: Anchor, walk: ChainWalk): AuditProblem[] {
  const of = `digest ${digest.number} of ${said.takenAt}`;
  if (heads.size !== said.streams || hashOfHeads(heads) !== said.heads) {
    return [{ code: 'digest-changed', detail: `the heads noted for ${of} are not those that it has signed` }];
  }
  const problems: AuditProblem[] = [];
  for (const [streamId, noted] of heads) {
    const problem = againstHead(streamId, noted, walk.head(streamId), of);
    if (problem) problems.push(problem);
  }
  const more = problems.length - NAMED;
  if (more <= 0) return problems;
  return [
    ...problems.slice(0, NAMED),
    { code: 'stream-rewritten', detail: `and ${more} more streams are not as ${of} says` },
  ];
}

function againstHead(
  streamId: string,
  noted: Head,
  head: Head | undefined,
  of: string,
): AuditProblem | undefined {
  if (!head) {
    return { code: 'stream-removed', streamId, detail: `${of} has noted it; the log holds no event of it` };
  }
  const { revision } = noted;
  if (head.revision < revision) {
    return {
      code: 'event-removed',
      streamId,
      revision: head.revision + 1,
      detail: `${of} has noted revision ${revision}; up to its position the log now ends at revision ${head.revision}`,
    };
  }
  if (head.revision > revision) {
    return {
      code: 'event-inserted',
      streamId,
      revision: revision + 1,
      detail: `${of} has noted revision ${revision} as the last; up to its position the log now goes to revision ${head.revision}`,
    };
  }
  if (head.hash.equals(noted.hash)) return undefined;
  return {
    code: 'stream-rewritten',
    streamId,
    revision,
    detail: `${of} has noted another hash at revision ${revision}: an event up to there was changed, and the hashes after it made anew`,
  };
}
