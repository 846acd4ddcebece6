import type { ClientBase, Pool } from 'pg';

/**
 * Ends every answer that a server has cached. For changes of rows without an event (a rebuild, a repair, a restored
 * archive), in the same transaction. Dropped chunks are noticed without it.
 */
export const endCachedAnswers = (client: ClientBase | Pool) =>
  client.query(`update projection.generation set value = value + 1`);
