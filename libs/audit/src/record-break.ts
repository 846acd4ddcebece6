import { createHash } from 'node:crypto';
import type { Pool } from 'pg';
import { conflict } from '#lib/platform';
import { genesis, type Head } from './chain.js';
import { makeDigest, type Digest, type KnownBreak, type SigningKey } from './digest.js';
import { storeDigest } from './digests.js';
import type { AuditProblem, Finding } from './explain.js';
import { streamAsFound } from './read-events.js';
import { freeNumber, whileOthersWait, withOwn, type TakeDigestOptions } from './take-digest.js';
import { wholeAudit } from './verify-audit.js';

export interface RecordBreakOptions extends Pick<
  TakeDigestOptions,
  'keys' | 'folder' | 'vocabulary' | 'now' | 'signal'
> {
  /** Who records it, and why the log is as it is: for every later audit. */
  readonly by: string;
  readonly why: string;
  /**
   * The fingerprint of the findings that the operator saw. Without it nothing is signed, and the result shows what
   * would be.
   */
  readonly findings?: string | undefined;
}

export interface FoundBreak {
  readonly problems: readonly AuditProblem[];
  /** Of the findings, and of the rows in which they were found. */
  readonly fingerprint: string;
  /** The digest that records it. */
  readonly digest?: Digest;
}

/**
 * Records damage of the log as known, in a digest that signs the present head of each stream and from which the next
 * digests continue. It covers exactly the rows, the gaps and the digests that were found. It does not cover later
 * changes in them, nor anything else.
 *
 * @throws WaylogError `audit.no-break`; `audit.other-findings` if the findings are not, or no longer, those that the
 * operator saw
 */
export async function recordBreak(
  pool: Pool,
  key: SigningKey,
  options: RecordBreakOptions,
): Promise<FoundBreak> {
  const { by, why, folder, vocabulary, now = new Date(), signal } = options;
  const keys = withOwn(key, options.keys);
  return whileOthersWait(pool, async (client) => {
    const audit = await wholeAudit(client, {
      keys,
      digestFolder: folder,
      vocabulary,
      ...(signal && { signal }),
    });
    const recordable = audit.open.filter(isBreak);
    if (recordable.length === 0) {
      throw conflict(
        'audit.no-break',
        audit.open.length === 0
          ? 'There is no break to record: everything is as it was recorded, or known already.'
          : `There is no break to record: what was found can be mended. ${audit.open[0]?.problem.detail}.`,
        { problems: audit.open.map(({ problem }) => problem) },
      );
    }
    const heads = audit.walk.heads();
    const streams: KnownBreak['streams'][number][] = [];
    for (const streamId of new Set(recordable.flatMap(brokenStream))) {
      const upTo = heads.get(streamId)?.revision ?? -1;
      streams.push({ streamId, upTo, found: await streamAsFound(client, streamId, upTo) });
      if (upTo < 0) heads.set(streamId, genesis(streamId));
    }
    const problems = recordable.map(({ problem }) => problem);
    const marks = recordable.flatMap(({ mark }) => mark ?? []);
    const fingerprint = createHash('sha256')
      .update(JSON.stringify([problems, streams, marks]))
      .digest('hex')
      .slice(0, 16);
    if (options.findings === undefined) return { problems, fingerprint };
    if (options.findings !== fingerprint) {
      throw conflict(
        'audit.other-findings',
        `Nothing was recorded: what is found now has the fingerprint ${fingerprint}, not ${options.findings}. Look at it again.`,
        { problems, fingerprint },
      );
    }
    const last = audit.anchors.findLast(({ isSigned }) => isSigned);
    const number = freeNumber(last?.said.number ?? 0, new Set(audit.digests.map((digest) => digest.number)));
    const takenAt = now.toISOString();
    const digest = makeDigest(
      key,
      {
        number,
        takenAt,
        position: String(audit.position),
        // All streams: earlier digests may be part of the damage.
        changed: heads satisfies ReadonlyMap<string, Head>,
        walk: { digest: number, began: takenAt, since: takenAt },
        break: { by, why, problems, streams, marks },
      },
      last?.digest,
    );
    await storeDigest(client, digest, heads);
    return { problems, fingerprint, digest };
  });
}

/** Not findings that are fixed in another way: by erasing again. */
const isBreak = ({ problem }: Finding): boolean =>
  problem.code !== 'key-left' && problem.code !== 'snapshot-left';

const brokenStream = ({ problem, coveredFrom, mark }: Finding): string[] =>
  coveredFrom !== undefined && mark === undefined && problem.streamId !== undefined ? [problem.streamId] : [];
