import type { ClientBase, Pool } from 'pg';

/**
 * Ends every answer that a server has cached. For whatever changes rows that no event touches: a rebuild, a repair, an
 * archive that is put back; in the transaction that does it. Chunks that are dropped are noticed without it.
 */
export const endCachedAnswers = (client: ClientBase | Pool) =>
  client.query(`update projection.generation set value = value + 1`);
