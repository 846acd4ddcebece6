import type { Pool } from 'pg';
import { conflict, databaseCall, inTransaction } from '#lib/platform';
import type { Head } from './chain.js';
import { makeDigest, statementOf, type Digest, type SigningKey } from './digest.js';
import { lastDigest, lastHeads, storeDigest } from './digests.js';
import { readEvents } from './read-events.js';
import { ChainWalk } from './walk.js';

/** Held while a digest is taken: of several servers one does it. */
const DIGEST_LOCK = 7239100408;

/**
 * Follows the chains from the last digest to the end of the log, and signs where they stand. Answers nothing when there is
 * no new event.
 *
 * @throws WaylogError `audit.broken`, with nothing signed, when a chain does not hold
 */
export async function takeDigest(
  pool: Pool,
  key: SigningKey,
  { now = new Date(), signal }: { readonly now?: Date; readonly signal?: AbortSignal } = {},
): Promise<Digest | undefined> {
  const client = await databaseCall(() => pool.connect());
  try {
    return await inTransaction(client, async () => {
      await client.query('set local statement_timeout = 0');
      // Every statement after it sees what the last holder of the lock has committed; the log only grows meanwhile.
      await client.query(`select pg_advisory_xact_lock($1)`, [DIGEST_LOCK]);
      const previous = await lastDigest(client);
      const after = previous ? (statementOf(previous.document)?.position ?? '0') : '0';
      const walk = new ChainWalk(after);
      const changed = new Map<string, Head>();
      let position = after;
      for await (const page of readEvents(client, after)) {
        signal?.throwIfAborted();
        const unknown = new Set(page.map(({ streamId }) => streamId).filter((id) => !walk.knows(id)));
        walk.know(await lastHeads(client, [...unknown]));
        for (const event of page) {
          walk.follow(event);
          changed.set(event.streamId, walk.head(event.streamId) as Head);
          position = event.position;
        }
      }
      const problems = walk.problems();
      if (problems[0]) {
        const { streamId, detail } = problems[0];
        throw conflict(
          'audit.broken',
          `No digest was signed: the chain of ${problems.length} stream${problems.length === 1 ? '' : 's'} does not hold, ` +
            `such as ${streamId}: ${detail}. See \`waylog verify --audit\`.`,
          { problems },
        );
      }
      if (changed.size === 0) return undefined;
      const digest = makeDigest(key, { takenAt: now.toISOString(), position, changed }, previous);
      await storeDigest(client, digest, changed);
      return digest;
    });
  } finally {
    client.release();
  }
}
