import type { ClientBase } from 'pg';
import type { Heads } from './digest.js';
import { againstDigest, type Anchor } from './digest-checks.js';
import type { Finding } from './explain.js';
import type { KnownBreaks } from './known-breaks.js';
import { END, readEvents } from './read-events.js';
import type { SealedEvents } from './sealed-events.js';
import { ChainWalk, gapFinding } from './walk.js';

export interface FollowOptions {
  readonly client: ClientBase;
  /** Where to begin: after a digest, or at the beginning of the log. */
  readonly after?: Anchor | undefined;
  /** The digests to compare with on the way, in their order. */
  readonly anchors: readonly Anchor[];
  /** The last position to follow; default that of the last digest. The log has an event there or later. */
  readonly upTo?: string;
  /** The number of the digest that will cover what comes after the anchors. */
  readonly next: number;
  readonly breaks: KnownBreaks;
  readonly headsOf: (anchor: Anchor) => Promise<Heads>;
  /** The heads of streams at the start; absent at the beginning of the log. */
  readonly startOf?: (streamIds: readonly string[]) => Promise<Heads>;
  readonly sealed: SealedEvents;
  readonly signal?: AbortSignal | undefined;
  readonly onEvents?: ((count: number) => void) | undefined;
}

export interface Followed {
  readonly findings: readonly Finding[];
  /** The heads of the streams that have grown since the last compared digest. */
  readonly grown: ReadonlySet<string>;
  readonly walk: ChainWalk;
  /** Of the last event; of the start if there was none. */
  readonly position: bigint;
}

/**
 * Follows the chains of all streams through the log, and compares them with the digests on the way. The hashes are
 * computed here, from the rows as they are. The database is trusted only to show the same rows to every reader.
 */
export async function follow(options: FollowOptions): Promise<Followed> {
  const { client, after, anchors, next, breaks, sealed, signal } = options;
  const findings: Finding[] = [];
  let position = after ? breaks.positionOf(after) : 0n;
  // Events that a later record reports as cut off were already there where these begin.
  let covered = after ? BigInt(after.said.position) : 0n;
  const walk = new ChainWalk(
    String(position),
    after && BigInt(Math.trunc(Date.parse(after.said.takenAt))) * 1_000n,
  );
  const waiting = [...anchors];
  let before = after?.said.number ?? 0;
  walk.digest = waiting[0]?.said.number ?? next;

  const compare = async (anchor: Anchor) => {
    const at = breaks.positionOf(anchor);
    const said = BigInt(anchor.said.position);
    walk.reach(at);
    if (said > at && said > covered)
      findings.push(gapFinding((covered > at ? covered : at) + 1n, said, anchor.said.number));
    covered = said;
    const { number } = anchor.said;
    const grown = walk.grown();
    // If the digest before is missing, some of them have grown before that.
    const isNext = number === before + 1;
    findings.push(...againstDigest(anchor, await options.headsOf(anchor), walk, isNext ? grown : undefined));
    before = number;
    // A break after a known break is another one.
    if (anchor.said.break && anchor.isSigned) findings.push(...walk.settle());
    waiting.shift();
    walk.digest = waiting[0]?.said.number ?? next;
  };

  const last = anchors.at(-1);
  const upTo = options.upTo ?? String(last ? breaks.positionOf(last) : position);
  for await (const page of readEvents(client, String(position), upTo)) {
    signal?.throwIfAborted();
    if (options.startOf) {
      const unknown = new Set(page.map(({ streamId }) => streamId).filter((id) => !walk.knows(id)));
      walk.know(await options.startOf([...unknown]));
    }
    for (const event of page) {
      while (waiting[0] && BigInt(event.position) > breaks.positionOf(waiting[0])) await compare(waiting[0]);
      walk.follow(event);
      position = BigInt(event.position);
    }
    await sealed.look(page);
    options.onEvents?.(page.length);
  }
  while (waiting[0]) await compare(waiting[0]);
  if (upTo !== END) walk.reach(BigInt(upTo));
  findings.push(...walk.settle());
  // Nothing was vouched for before the first digest.
  if (after || anchors.length > 0) findings.push(...walk.begunAfterDigests(next));
  return { findings, grown: walk.grown(), walk, position };
}
