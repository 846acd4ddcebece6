import type { ClientBase } from 'pg';
import { otherLog } from './folded-log.js';
import { conflict, inTransaction } from '#lib/platform';
import type { ReadableLog, Position } from '#lib/event-store';

/** Tables of one projector, which move together. */
export interface ProjectorTables {
  readonly projector: string;
  readonly names: readonly string[];
}

/** Runs `work` in a transaction in which no projector can move these checkpoints: they are in the same rows. */
export async function atCheckpoint<T>(
  client: ClientBase,
  store: ReadableLog,
  tables: ProjectorTables,
  work: (checkpoint: Position) => Promise<T>,
): Promise<T> {
  return inTransaction(client, async () => work(await checkpointOf(client, store, tables, 'for update')));
}

/**
 * The common checkpoint of these projections, which move together. Throws `projection.never-ran` and
 * `projection.apart`.
 */
export async function checkpointOf(
  client: ClientBase,
  store: ReadableLog,
  { projector, names }: ProjectorTables,
  lock: '' | 'for update' = '',
): Promise<Position> {
  const { rows } = await client.query<{ projection: string; position: string }>(
    `select projection, position from projection.checkpoints
      where projector = $1 and projection = any ($2) order by projection ${lock}`,
    [projector, names],
  );
  const [first] = rows;
  if (!first || rows.length < names.length) {
    const missing = names.filter((name) => !rows.some(({ projection }) => projection === name));
    throw conflict(
      'projection.never-ran',
      `No checkpoint yet: ${missing.join(', ')}. No projector has run on this database yet. Start the server once.`,
    );
  }
  if (rows.some(({ position }) => position !== first.position)) {
    throw conflict(
      'projection.apart',
      `The checkpoints are not at one position: ${rows.map((r) => `${r.projection} ${r.position}`).join(', ')}. ` +
        `A table that was not declared for a while is behind: a server that starts with it folds it again.`,
    );
  }
  // A text that is not a position of this store is refused here, before anything is folded.
  try {
    store.compare(first.position, store.beginning);
  } catch {
    throw otherLog();
  }
  return first.position;
}
