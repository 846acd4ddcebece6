import type { Pool, PoolClient } from 'pg';
import type { Vocabulary } from '#lib/event-store';
import { databaseCall, type Timestamp } from '#lib/platform';
import type { Digest } from './digest.js';
import {
  checkDigests,
  headsChanged,
  missingDigests,
  otherThanFile,
  removedDigest,
  unreadableFile,
  type Anchor,
  type Keys,
} from './digest-checks.js';
import { filedDigest, filedNumbers, type FiledDigest } from './digest-files.js';
import { storedDigests, storedHeads } from './digests.js';
import type { AuditProblem, Finding } from './explain.js';
import { follow } from './follow.js';
import { KnownBreaks, type RecordedBreak } from './known-breaks.js';
import { holdTables, replacedTables } from './log-tables.js';
import { END, endOf } from './read-events.js';
import { SealedEvents } from './sealed-events.js';
import { ChainWalk } from './walk.js';
import { notThere, openLosses, putOutside, seenBeyond } from './witnesses.js';

/** Every position in an answer is that of an event. */
export interface Answered {
  readonly position: string;
  readonly streamId?: string | undefined;
}

export interface AuditOptions {
  readonly pool: Pool;
  /** Public keys by id. Without any, signatures are not checked, nothing is vouched for, and the result says so. */
  readonly keys: Keys;
  /** A folder of digest files, which are compared with the database's copies. */
  readonly digestFolder?: string | undefined;
  /** The types of the events after which a stream must no longer have a data key. */
  readonly vocabulary: Vocabulary;
  /** Positions that clients were answered, with the stream if known: the log must hold an event at each. */
  readonly atLeast?: readonly Answered[] | undefined;
  readonly signal?: AbortSignal;
  readonly onProgress?: (events: number, total: number) => void;
}

export interface AuditResult {
  /** Nothing was found except recorded known breaks. */
  readonly isSound: boolean;
  readonly events: number;
  readonly streams: number;
  /** How many digests there are, and how many of them have a valid signature of a known key. */
  readonly digests: number;
  readonly signed: number;
  /**
   * The position and the time of the last signed digest up to which everything was proved: all digests before it exist,
   * each agrees with the log, and every chain holds up to its position, except for known breaks. Absent if there is
   * none.
   */
  readonly vouchedPosition?: string;
  readonly vouchedAt?: Timestamp;
  /** Breaks that an operator has recorded as known. */
  readonly breaks: readonly RecordedBreak[];
  /** Findings that are not known breaks, at most 1,000 of `problemCount`. */
  readonly problems: readonly AuditProblem[];
  readonly problemCount: number;
}

/** How many problems are named. */
export const NAMED = 1_000;

/** Follows the chain of every stream from the first event on, and compares it with what each digest has noted. */
export async function verifyAudit(options: AuditOptions): Promise<AuditResult> {
  const client = await databaseCall(() => options.pool.connect());
  try {
    const { open, anchors, walk, events, digests, breaks } = await fromTables(client, options);
    const spoilt = Math.min(...open.map(({ spoils }) => spoils ?? Infinity));
    const signed = anchors.filter(({ isSigned }) => isSigned);
    const vouched = signed.filter(({ said }) => said.number < spoilt).at(-1)?.said;
    return {
      isSound: open.length === 0,
      events,
      streams: walk.streams,
      digests: digests.length,
      signed: signed.length,
      ...(vouched && { vouchedPosition: vouched.position, vouchedAt: vouched.takenAt }),
      breaks: breaks.recorded,
      problems: problemsOf(open),
      problemCount: open.length,
    };
  } finally {
    await client.query('rollback').catch(() => undefined);
    client.release();
  }
}

/** Objects that replace the tables are not read at all, as they can say anything; they are then the only finding. */
async function fromTables(client: PoolClient, options: AuditOptions): Promise<WholeAudit> {
  const replaced = await replacedTables(client);
  if (replaced.length > 0) return nothingRead(client, replaced);
  await client.query('begin isolation level repeatable read read only');
  await client.query('set local statement_timeout = 0');
  // The locks come before the snapshot, so that the snapshot is of the locked tables.
  await holdTables(client);
  const since = await replacedTables(client);
  return since.length > 0 ? nothingRead(client, since) : wholeAudit(client, options);
}

const nothingRead = async (client: PoolClient, open: readonly Finding[]): Promise<WholeAudit> => ({
  open,
  anchors: [],
  digests: [],
  breaks: await KnownBreaks.of(client, []),
  events: 0,
  walk: new ChainWalk('0'),
  position: 0n,
});

/** The text of findings: if an event is known to be missing, nothing more is said of its position. */
export function problemsOf(findings: readonly Finding[]): AuditProblem[] {
  const problems = findings.map(({ problem }) => problem);
  const isGapNamed = problems.some(
    ({ code, streamId }) => code === 'event-removed' && streamId !== undefined,
  );
  return problems
    .filter(({ code, streamId }) => !(isGapNamed && code === 'event-removed' && streamId === undefined))
    .slice(0, NAMED);
}

interface WholeAudit {
  /** Findings that no known break covers. */
  readonly open: readonly Finding[];
  readonly anchors: readonly Anchor[];
  readonly digests: readonly Digest[];
  readonly breaks: KnownBreaks;
  readonly events: number;
  readonly walk: ChainWalk;
  /** Of the last event. */
  readonly position: bigint;
}

/** Everything, from the first event on; part of the caller's transaction, which holds the tables. */
export async function wholeAudit(
  client: PoolClient,
  options: Omit<AuditOptions, 'pool'>,
): Promise<WholeAudit> {
  const { keys, digestFolder, vocabulary, signal, onProgress } = options;
  const end = Number(await endOf(client));
  const findings: Finding[] = [];
  const { digests, files, stored } = await allDigests(client, digestFolder, findings);
  const checked = checkDigests(digests, keys);
  const { anchors } = checked;
  findings.push(...checked.findings);
  const numbers = digests.map(({ number }) => number);
  const present = anchors.at(-1)?.said.number ?? 0;
  const filed = new Set(findings.flatMap(({ mark }) => mark ?? []));
  findings.push(...missingDigests(numbers, present).filter(({ mark }) => !filed.has(mark ?? '')));
  const breaks = await KnownBreaks.of(client, anchors);

  const headsOf = async ({ said, ...anchor }: Anchor) => {
    const file = files.get(said.number);
    const inDatabase = await storedHeads(client, said.number);
    if (!file) return inDatabase;
    const changed = stored.has(said.number) && headsChanged({ said, ...anchor }, inDatabase);
    if (changed) findings.push(changed);
    return file.heads;
  };
  const sealed = new SealedEvents(client, vocabulary);
  let events = 0;
  const followed = await follow({
    client,
    anchors: anchors.toSorted((a, b) => (breaks.positionOf(a) < breaks.positionOf(b) ? -1 : 1)),
    upTo: END,
    next: present + 1,
    breaks,
    headsOf,
    sealed,
    signal,
    onEvents: (count) => {
      events += count;
      onProgress?.(events, end);
    },
  });
  const changed = new Set(followed.findings.flatMap(({ problem }) => problem.streamId ?? []));
  findings.unshift(...followed.findings);
  findings.push(...(await putOutside(client)), ...(await seenBeyond(client)), ...(await openLosses(client)));
  const answered = (options.atLeast ?? []).map((it) => ({ says: 'somebody was answered', ...it }));
  findings.push(...(await notThere(client, answered)));
  findings.push(...(await sealed.unopened(changed)), ...(await sealed.left()));
  return {
    open: findings.filter((finding) => !breaks.covers(finding)),
    anchors,
    digests,
    breaks,
    events,
    walk: followed.walk,
    position: followed.position,
  };
}

/** The digests of the database and of the folder; if they differ, the file counts. */
async function allDigests(client: PoolClient, folder: string | undefined, findings: Finding[]) {
  const stored = await storedDigests(client);
  const byNumber = new Map(stored.map((digest): [number, Digest] => [digest.number, digest]));
  const files = new Map<number, FiledDigest>();
  for (const number of folder === undefined ? [] : await filedNumbers(folder)) {
    const filed = await filedDigest(folder as string, number);
    if ('unreadable' in filed) {
      findings.push(unreadableFile(number, filed.unreadable));
      continue;
    }
    files.set(number, filed);
    const inDatabase = byNumber.get(number);
    if (!inDatabase) {
      const detail = `digest ${number} is in the folder, but not in the database any more`;
      findings.push(removedDigest(number, detail));
    } else if (inDatabase.document !== filed.digest.document) findings.push(otherThanFile(inDatabase));
    byNumber.set(number, filed.digest);
  }
  const digests = [...byNumber.values()].sort((a, b) => a.number - b.number);
  return { digests, files, stored: new Set(stored.map(({ number }) => number)) };
}
