import type { ClientBase, Pool, PoolClient } from 'pg';
import type { Vocabulary } from '#lib/event-store';
import { conflict, databaseCall, inTransaction, readRows } from '#lib/platform';
import type { Head } from './chain.js';
import { makeDigest, type Digest, type DigestStatement, type Heads, type SigningKey } from './digest.js';
import {
  againstFile,
  checkDigests,
  headsChanged,
  lastSigned,
  missingDigests,
  removedDigest,
  type Anchor,
  type Keys,
} from './digest-checks.js';
import { filedNumbers } from './digest-files.js';
import {
  digestsAfter,
  digestsOf,
  digestsWithBreak,
  notedLast,
  storedHeads,
  storedNumbers,
  storeDigest,
} from './digests.js';
import type { Finding } from './explain.js';
import { follow } from './follow.js';
import { KnownBreaks } from './known-breaks.js';
import { nextLap, SEGMENT } from './lap.js';
import { holdTables, replacedTables } from './log-tables.js';
import { endOf, endOfSegment, eventsUpTo } from './read-events.js';
import { SealedEvents } from './sealed-events.js';
import { problemsOf } from './verify-audit.js';
import { notThere, openLosses, putOutside, seenBeyond } from './witnesses.js';

/** Held while a digest is taken: of several servers one takes it. */
const DIGEST_LOCK = 7239100408;

const DAY_MS = 86_400_000;

/** What a process has seen of a log. An earlier state of the database cannot take it back. */
export interface Seen {
  readonly digest: Digest | undefined;
  /** The newest event, with its hash: a different event at its position has a different hash. */
  readonly position: string;
  readonly hash: string | undefined;
}

export interface TakeDigestOptions {
  /** Public keys of digests that another key has signed, by id. */
  readonly keys?: Keys | undefined;
  /** The folder of digest files, which are compared with those in the database. */
  readonly folder?: string | undefined;
  /** The types of the events after which a stream must no longer have a data key. */
  readonly vocabulary: Vocabulary;
  /** The time within which every event of the log is walked again. */
  readonly roundMs?: number | undefined;
  readonly seen?: Seen | undefined;
  /** Whether to sign a digest if the log has grown since the last one; otherwise the log is only checked. */
  readonly isDue?: (last: DigestStatement | undefined, position: bigint) => boolean;
  readonly now?: Date;
  readonly signal?: AbortSignal;
  readonly onEvents?: (count: number) => void;
}

export interface TakenDigest {
  /** Absent if there is nothing to sign: the log has not grown, and no walk is due. */
  readonly digest?: Digest;
  readonly seen: Seen;
  /** The log may continue after it. */
  readonly isMore: boolean;
}

/**
 * Follows the chains from the last digest to the end of the log, and a part of what older digests have signed, so that
 * all of it is walked again within `roundMs`. Checks whether the digests exist and are unchanged, and whether anything
 * has seen more than the log holds. Then signs the heads of the chains.
 *
 * @throws WaylogError `audit.broken`, with nothing signed, if anything is not as it was recorded
 */
export async function takeDigest(
  pool: Pool,
  key: SigningKey,
  options: TakeDigestOptions,
): Promise<TakenDigest> {
  let taken = await whileOthersWait(pool, (client) => take(client, key, options));
  // A long log is signed in several digests, which can be walked again one by one.
  while (taken.isMore) {
    const rest = { ...options, seen: taken.seen, isDue: () => true };
    taken = { ...taken, ...(await whileOthersWait(pool, (client) => take(client, key, rest))) };
  }
  return taken;
}

/** Runs work in a transaction in which no other process can take a digest or replace a table of the log. */
export async function whileOthersWait<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await databaseCall(() => pool.connect());
  try {
    return await inTransaction(client, async () => {
      await client.query('set local statement_timeout = 0');
      // Every later statement sees what the last holder of the lock has committed. Meanwhile the log only grows.
      await client.query(`select pg_advisory_xact_lock($1)`, [DIGEST_LOCK]);
      refuseBroken(await replacedTables(client));
      await holdTables(client);
      // A table that was replaced before it was locked is visible now.
      refuseBroken(await replacedTables(client));
      return work(client);
    });
  } finally {
    client.release();
  }
}

/** The keys that verify what this key, or an earlier one, has signed. */
export const withOwn = (key: SigningKey, keys: Keys | undefined): Keys =>
  new Map([...(keys ?? []), [key.keyId, key.publicKey]]);

async function take(client: PoolClient, key: SigningKey, options: TakeDigestOptions): Promise<TakenDigest> {
  const { folder, vocabulary, roundMs = 7 * DAY_MS, seen, now = new Date(), signal, onEvents } = options;
  const keys = withOwn(key, options.keys);
  const findings: Finding[] = [];
  const signed = await lastSigned(client, keys);
  const { last } = signed;
  findings.push(...signed.findings);
  const numbers = await storedNumbers(client);
  const files = new Set(folder === undefined ? [] : await filedNumbers(folder).catch(noneYet));
  findings.push(...missingDigests(numbers, last?.said.number ?? 0), ...removedFiles(numbers, files));
  findings.push(...(await againstSeen(client, seen, last)));

  const recorded = checkDigests(await digestsWithBreak(client), keys);
  findings.push(...recorded.findings);
  const breaks = await KnownBreaks.of(client, recorded.anchors);
  const compareWithFile = async (digest: Digest) => {
    if (folder !== undefined) findings.push(...(await againstFile(folder, digest, files)));
  };
  if (last) await compareWithFile(last.digest);

  // The heads of a digest are trusted if its signature is valid.
  const believed = new Map<number, Heads>();
  const headsOf = async ({ said: { number } }: Anchor) => {
    const heads = believed.get(number) ?? (await storedHeads(client, number));
    believed.set(number, heads);
    return heads;
  };
  const startAt = (digest: number) => async (streamIds: readonly string[]) => {
    const noted = await notedLast(client, streamIds, digest);
    const unknown = [...new Set(noted.values())].filter((number) => !believed.has(number));
    const checked = checkDigests(await digestsOf(client, unknown), keys);
    findings.push(...checked.findings);
    for (const anchor of checked.anchors) {
      await compareWithFile(anchor.digest);
      const changed = headsChanged(anchor, await headsOf(anchor));
      if (changed) findings.push(changed);
    }
    return new Map(
      [...noted].flatMap(([streamId, number]): [string, Head][] => {
        const head = believed.get(number)?.get(streamId);
        return head ? [[streamId, head]] : [];
      }),
    );
  };

  const sealed = new SealedEvents(client, vocabulary);
  const next = freeNumber(last?.said.number ?? 0, new Set([...numbers, ...files]));
  const common = { client, next, breaks, headsOf, sealed, signal, onEvents };
  const all = last ? await eventsUpTo(client, last.said.position) : 0n;
  const lap = nextLap(last?.said, { now, roundMs, lastBreak: breaks.last, all });
  const piece = await pieceOf(client, keys, lap, last);
  findings.push(...piece.findings);
  for (const { digest } of piece.anchors) await compareWithFile(digest);
  const isWhole = piece.through === (last?.said.number ?? 0);
  // What older digests have signed, and the new part, in one walk if they are adjacent.
  if (!isWhole) {
    const start = piece.after && { startOf: startAt(piece.after.said.number) };
    const walked = await follow({ ...common, ...start, ...piece });
    findings.push(...walked.findings);
  }
  const from = isWhole ? piece : { after: last, anchors: [] };
  const start = from.after && { startOf: startAt(from.after.said.number) };
  const begin = last ? breaks.positionOf(last) : 0n;
  // No further than the log goes, so that events missing before its end are noticed, however many.
  const end = await endOf(client);
  const upTo = end < begin + BigInt(SEGMENT) ? end : await endOfSegment(client, begin, SEGMENT);
  const {
    findings: found,
    grown,
    walk,
    position,
  } = await follow({ ...common, ...start, ...from, upTo: String(upTo) });
  findings.push(...found, ...(await seenBeyond(client)), ...(await putOutside(client)));
  findings.push(...(await openLosses(client)));
  findings.push(
    ...(await sealed.unopened(new Set(findings.flatMap(({ problem }) => problem.streamId ?? [])))),
  );
  refuseBroken(findings.filter((finding) => !breaks.covers(finding)));

  const hash = await hashAt(client, position);
  const idleSince = last && now.getTime() - Date.parse(last.said.takenAt);
  const isDue =
    grown.size === 0
      ? idleSince !== undefined && idleSince >= roundMs / 4
      : (options.isDue?.(last?.said, position) ?? true);
  if (!isDue) return { seen: { digest: last?.digest, position: String(position), hash }, isMore: false };
  const changed = new Map([...grown].map((streamId) => [streamId, walk.head(streamId) as Head]));
  const digest = makeDigest(
    key,
    {
      number: next,
      takenAt: now.toISOString(),
      position: String(position),
      changed,
      walk: { ...lap.walk, digest: isWhole ? next : piece.through },
    },
    last?.digest,
  );
  await storeDigest(client, digest, changed);
  return { digest, seen: { digest, position: String(position), hash }, isMore: position < end };
}

/** A folder that was never written to holds nothing. */
const noneYet = (error: unknown): number[] => {
  const { cause } = error as { cause?: { code?: string } };
  if (cause?.code === 'ENOENT') return [];
  throw error;
};

const removedFiles = (numbers: readonly number[], files: ReadonlySet<number>): Finding[] => {
  const stored = new Set(numbers);
  return [...files]
    .filter((number) => !stored.has(number))
    .map((number) =>
      removedDigest(number, `digest ${number} is in the folder, but not in the database any more`),
    );
};

const hashAt = async (client: ClientBase, position: bigint): Promise<string | undefined> =>
  (
    await readRows(client, undefined, `select encode(hash, 'hex') from log.events where position = $1`, [
      String(position),
    ])
  )[0]?.[0] ?? undefined;

/** Events that the process remembers and the database lacks. */
async function againstSeen(
  client: ClientBase,
  seen: Seen | undefined,
  last: Anchor | undefined,
): Promise<Finding[]> {
  if (!seen) return [];
  const findings: Finding[] = [];
  const { digest } = seen;
  if (digest) {
    const [now] = await digestsOf(client, [digest.number]);
    if (now?.document !== digest.document) {
      const detail = `digest ${digest.number}, which this process has seen, is not in the database any more`;
      findings.push(removedDigest(digest.number, detail));
    }
  }
  // A break that was recorded since then says where the log ends.
  if (last?.said.break && last.said.number > (digest?.number ?? 0)) return findings;
  return [...findings, ...(await notThere(client, [{ says: 'this process has seen an event at', ...seen }]))];
}

/** The digests whose events are walked again, and the digest after which the walk starts. */
async function pieceOf(
  client: ClientBase,
  keys: Keys,
  lap: { readonly from: number; readonly atLeast: number; readonly events: bigint },
  last: Anchor | undefined,
): Promise<{ after?: Anchor; anchors: Anchor[]; through: number; findings: Finding[] }> {
  const [first] = lap.from === 0 ? [] : await digestsOf(client, [lap.from]);
  const begin = checkDigests(first ? [first] : [], keys);
  const after = begin.anchors[0];
  const findings = [...begin.findings];
  let events = 0n;
  let position = BigInt(after?.said.position ?? 0);
  // Between two of them are no more events than this, whatever their positions: those of two histories are far apart.
  const countUpTo = ({ said }: Anchor): bigint => {
    const grown = BigInt(said.position) - position;
    position = BigInt(said.position);
    return (events += grown < BigInt(SEGMENT) ? grown : BigInt(SEGMENT));
  };
  const anchors: Anchor[] = [];
  let through = lap.from;
  for (let before = after; last && through < last.said.number;) {
    const page = (await digestsAfter(client, through, 1_000)).filter(
      ({ number }) => number <= last.said.number,
    );
    const checked = checkDigests(page, keys, before);
    findings.push(...checked.findings);
    const end = checked.anchors.findIndex(
      (anchor) => countUpTo(anchor) >= lap.events && anchor.said.number >= lap.atLeast,
    );
    anchors.push(...(end < 0 ? checked.anchors : checked.anchors.slice(0, end + 1)));
    before = anchors.at(-1);
    through = end < 0 ? (page.at(-1)?.number ?? last.said.number) : (before?.said.number ?? through);
    if (end >= 0 || page.length === 0) break;
  }
  return { ...(after && { after }), anchors, through, findings };
}

/** The next free number. A number that an unsigned digest uses is skipped. */
export function freeNumber(last: number, taken: ReadonlySet<number>): number {
  let number = last + 1;
  while (taken.has(number)) number++;
  return number;
}

export function refuseBroken(findings: readonly Finding[]): void {
  const problems = problemsOf(findings);
  const [first] = problems;
  if (!first) return;
  const { streamId, detail } = first;
  throw conflict(
    'audit.broken',
    `No digest was signed: ${findings.length} thing${findings.length === 1 ? ' is' : 's are'} not as recorded, such as ` +
      `${streamId === undefined ? '' : `${streamId}: `}${detail}. See \`waylog verify --audit\`; what is known and cannot be ` +
      `mended is recorded with \`waylog audit record-break\`.`,
    { problems },
  );
}
