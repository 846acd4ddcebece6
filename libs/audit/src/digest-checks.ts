import type { KeyObject } from 'node:crypto';
import { createHash } from 'node:crypto';
import type { Queryable } from '#lib/platform';
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
import { filedDigest } from './digest-files.js';
import { digestsBefore } from './digests.js';
import type { AuditCode, AuditProblem, Finding } from './explain.js';
import type { ChainWalk } from './walk.js';

export type Keys = ReadonlyMap<string, KeyObject>;

/** A digest whose document can be read, and may be signed. */
export interface Anchor {
  readonly digest: Digest;
  readonly said: DigestStatement;
  readonly isSigned: boolean;
}

export interface CheckedDigests {
  readonly anchors: readonly Anchor[];
  readonly findings: readonly Finding[];
}

/** What is wrong with a digest. It is identified by its content, so that it cannot become another one later. */
const digestFinding = (code: AuditCode, number: number, detail: string, ...content: string[]): Finding => ({
  problem: { code, detail },
  spoils: number,
  coveredFrom: 0,
  mark: `${code} ${number} ${createHash('sha256').update(content.join('\n')).digest('hex')}`,
});

export const removedDigest = (number: number, detail = `digest ${number} is missing`): Finding => ({
  problem: { code: 'digest-removed', detail },
  spoils: number,
  coveredFrom: number + 1,
  mark: `digest-removed ${number}`,
});

const contentOf = ({ document, keyId, signature }: Digest): string[] => [
  document,
  keyId,
  signature.toString('hex'),
];

/** The digest alone: its statement and its faults. Without keys signatures are not checked. */
function checkDigest(digest: Digest, keys: Keys): { readonly anchor?: Anchor; readonly finding?: Finding } {
  const { number, keyId } = digest;
  const said = statementOf(digest.document);
  const signature = keys.size === 0 ? 'unchecked' : checkSignature(keys, digest);
  if (!said || said.number !== number || signature === 'bad') {
    const detail = `digest ${number} is not what its key has signed`;
    return { finding: digestFinding('digest-changed', number, detail, ...contentOf(digest)) };
  }
  const anchor = { digest, said, isSigned: signature === 'good' };
  if (signature !== 'unknown-key') return { anchor };
  const detail = `digest ${number} is signed by the key ${keyId}, which is none of those given: give its public half as well, or it is a forgery`;
  return { anchor, finding: digestFinding('digest-unsigned', number, detail, ...contentOf(digest)) };
}

/** Digests in their order, each following the one before, with the faults of the others. */
export function checkDigests(digests: readonly Digest[], keys: Keys, before?: Anchor): CheckedDigests {
  const anchors: Anchor[] = [];
  const findings: Finding[] = [];
  let last = before;
  for (const digest of digests) {
    const { anchor, finding } = checkDigest(digest, keys);
    if (finding) findings.push(finding);
    if (!anchor) continue;
    // If the one before is missing, or all digests are, that is a separate finding.
    const { previous, number } = anchor.said;
    const follows = last?.said.number === number - 1 ? hashOfDocument(last.digest.document) : previous;
    if (previous !== follows && !finding) {
      const detail = `digest ${number} does not follow digest ${number - 1} as it is now: one of them was replaced`;
      const content = [anchor.digest.document, follows ?? ''];
      findings.push({ ...digestFinding('digest-changed', number, detail, ...content), spoils: number - 1 });
    }
    // A possible forgery is compared with nothing.
    if (!finding) anchors.push(anchor);
    last = anchor;
  }
  return { anchors, findings };
}

/** The numbers up to the last digest that are missing entirely. */
export function missingDigests(there: readonly number[], last: number): Finding[] {
  const known = new Set(there);
  const findings: Finding[] = [];
  for (let number = 1; number < last && findings.length < 10_000; number++)
    if (!known.has(number)) findings.push(removedDigest(number));
  return findings;
}

/** The last digest with a valid signature, and the faults of later ones. */
export async function lastSigned(
  client: Queryable,
  keys: Keys,
): Promise<{ readonly last?: Anchor; readonly findings: readonly Finding[] }> {
  const findings: Finding[] = [];
  for (let before = 2 ** 31; ;) {
    const page = await digestsBefore(client, before, 100);
    for (const digest of page) {
      const { anchor, finding } = checkDigest(digest, keys);
      if (anchor?.isSigned) return { last: anchor, findings };
      if (finding) findings.push(finding);
      before = digest.number;
    }
    if (page.length === 0) return { findings };
  }
}

/** What a folder says of a digest of the database: nothing, if it has none or the same. */
export async function againstFile(
  folder: string,
  digest: Digest,
  there: ReadonlySet<number>,
): Promise<Finding[]> {
  const { number } = digest;
  if (!there.has(number)) return [];
  const filed = await filedDigest(folder, number);
  if ('unreadable' in filed) return [unreadableFile(number, filed.unreadable)];
  return filed.digest.document === digest.document ? [] : [otherThanFile(digest)];
}

export const unreadableFile = (number: number, why: string): Finding =>
  digestFinding('digest-changed', number, `the file of digest ${number} cannot be read: ${why}`, why);

export const otherThanFile = (digest: Digest): Finding =>
  digestFinding(
    'digest-changed',
    digest.number,
    `digest ${digest.number} of the database is not that in the folder`,
    ...contentOf(digest),
  );

/** A finding if the heads stored with a digest are not those that it has signed; otherwise undefined. */
export function headsChanged({ said }: Anchor, heads: Heads): Finding | undefined {
  const hash = hashOfHeads(heads);
  if (heads.size === said.streams && hash === said.heads) return undefined;
  const detail = `the heads noted for ${nameOf(said)} are not those that it has signed`;
  return digestFinding('digest-changed', said.number, detail, hash);
}

const nameOf = ({ number, takenAt }: DigestStatement): string => `digest ${number} of ${takenAt}`;

/**
 * What of the log up to a digest's position differs from the digest. `grown`: the streams that have grown since the
 * digest before, if known.
 */
export function againstDigest(
  anchor: Anchor,
  heads: Heads,
  walk: ChainWalk,
  grown: ReadonlySet<string> | undefined,
): Finding[] {
  const { said } = anchor;
  const changed = headsChanged(anchor, heads);
  if (changed) return [changed];
  const of = nameOf(said);
  const problems: AuditProblem[] = [];
  for (const [streamId, noted] of heads) {
    const problem = againstHead(streamId, noted, walk.head(streamId), of);
    if (problem) problems.push(problem);
  }
  for (const streamId of grown ?? []) {
    if (heads.has(streamId)) continue;
    const detail = `${of} knows of no event of it since the digest before, and there are some`;
    problems.push({ code: 'event-inserted', streamId, detail });
  }
  return problems.map((problem) => ({ problem, spoils: said.number, coveredFrom: said.number + 1 }));
}

function againstHead(
  streamId: string,
  noted: Head,
  head: Head | undefined,
  of: string,
): AuditProblem | undefined {
  const { revision } = noted;
  if (!head) {
    // A record of a break also notes streams that are missing.
    if (revision < 0) return undefined;
    return { code: 'stream-removed', streamId, detail: `${of} has noted it; the log holds no event of it` };
  }
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
    detail: `${of} has noted another hash at revision ${revision}: an event up to there was changed, and the hashes after it were recomputed`,
  };
}
