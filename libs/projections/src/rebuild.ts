import pg from 'pg';
import { conflict, endClient, retry, sessionOptions, SqlState, sqlStateOf } from '#lib/platform';
import type { EventStore, Position, RecordedEvent } from '#lib/event-store';
import { Contiguity } from './contiguity.js';
import { foldBatch } from './fold-batch.js';
import type { Projection } from './projection.js';
import { createShadow, swapShadow, type Shadow } from './shadow-table.js';
import { hashTable, type TableHash } from './table-hash.js';
import { TableWriter } from './table-writer.js';

export interface RebuildOptions {
  readonly projection: Projection;
  readonly store: EventStore;
  readonly connectionString: string;
  /** `replace` puts the rebuilt table in the live one's place; `compare` only says whether they are the same. */
  readonly mode?: 'replace' | 'compare';
  readonly batchSize?: number;
  /** Told after each batch how many events have been folded. */
  readonly onProgress?: (events: number) => void;
  readonly signal?: AbortSignal;
}

export interface RebuildResult {
  readonly projection: string;
  readonly events: number;
  /** Where the tables were compared. */
  readonly position: Position;
  readonly live: TableHash;
  readonly rebuilt: TableHash;
  readonly identical: boolean;
}

/**
 * Folds the whole log into a shadow of a projection's table, beside the live one, which goes on being read and
 * written. The projector is held only for moments: once to fix the moment of the comparison, and once to let the
 * shadow take the live table's place at exactly the projector's checkpoint.
 */
export async function rebuild(options: RebuildOptions): Promise<RebuildResult> {
  const { projection, connectionString, store, mode = 'replace' } = options;
  const clients: pg.Client[] = [];
  const connect = async () => {
    const client = new pg.Client({
      connectionString,
      application_name: 'waylog rebuild',
      options: sessionOptions,
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
    });
    // A lost connection fails the next query on it; without a listener it would end the process.
    client.on('error', () => undefined);
    clients.push(client);
    await client.connect();
    return client;
  };
  const end = () => Promise.all(clients.map(endClient));
  const onAbort = () => void end();
  options.signal?.addEventListener('abort', onAbort);
  try {
    // One session writes the shadow, the other holds the projector at its checkpoint.
    const [writer, holder] = [await connect(), await connect()];
    // The lock is the writer's: who has lost it can no longer write into a shadow that another one now makes.
    const { rows } = await writer.query<{ free: boolean }>(
      `select pg_try_advisory_lock(hashtextextended($1, 0)) as free`,
      [`waylog rebuild ${projection.name}`],
    );
    if (!rows[0]?.free) {
      throw conflict(
        'projection.rebuild-running',
        `Another process is rebuilding or verifying ${projection.name} now.`,
      );
    }
    const shadow = await createShadow(writer, projection.table);
    const fold = new ShadowFold(writer, shadow, options);
    // As far as the projector has come, while it goes on; what it adds meanwhile is little.
    await fold.upTo(await checkpointOf(holder, projection));
    await fold.upTo(await checkpointOf(holder, projection));

    const hashes = await compare();
    if (mode === 'replace') {
      await retry(
        () =>
          atCheckpoint(holder, projection, async (checkpoint) => {
            await fold.upTo(checkpoint);
            await swapShadow(holder, shadow);
            await holder.query(`update projection.checkpoints set version = $2 where projection = $1`, [
              projection.name,
              projection.version,
            ]);
          }),
        { ...SWAP_RETRY, retryIf: isLocked, ...(options.signal && { signal: options.signal }) },
      ).catch((error: unknown) => {
        throw isLocked(error) ? tableInUse(shadow.liveName) : error;
      });
    } else {
      await writer.query(`drop table ${shadow.name}`);
    }
    return {
      projection: projection.name,
      events: fold.events,
      ...hashes,
      identical: hashes.live.hash === hashes.rebuilt.hash,
    };

    /** Both tables of one moment: the projector waits only until the moment is fixed, not while they are hashed. */
    async function compare() {
      const position = await atCheckpoint(holder, projection, async (checkpoint) => {
        await fold.upTo(checkpoint);
        await writer.query('begin isolation level repeatable read read only');
        await writer.query('select 1');
        return checkpoint;
      });
      const live = await hashTable(writer, shadow.liveName);
      const rebuilt = await hashTable(writer, shadow.name);
      await writer.query('commit');
      return { position, live, rebuilt };
    }
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    await end();
  }

  /** Runs `work` while no projector can move the checkpoint: theirs is the same row. */
  async function atCheckpoint<T>(
    client: pg.Client,
    of: Projection,
    work: (checkpoint: Position) => Promise<T>,
  ): Promise<T> {
    await client.query('begin');
    try {
      const result = await work(await checkpointOf(client, of, 'for update'));
      await client.query('commit');
      return result;
    } catch (error) {
      await client.query('rollback').catch(() => undefined);
      throw error;
    }
  }

  async function checkpointOf(client: pg.Client, of: Projection, lock = ''): Promise<Position> {
    const { rows } = await client.query<{ position: string }>(
      `select position from projection.checkpoints where projection = $1 ${lock}`,
      [of.name],
    );
    if (!rows[0]) {
      throw conflict(
        'projection.never-ran',
        `Projection ${of.name} has no checkpoint: no projector has run on this database yet. Start the server once.`,
      );
    }
    // A text that is no position of this store is found here, before anything is folded by it.
    store.compare(rows[0].position, store.beginning);
    return rows[0].position;
  }
}

/** About a minute of asking for the live table, a moment at a time, before giving up. */
const SWAP_RETRY = { attempts: 60, baseDelayMs: 250, maxDelayMs: 1_500 };

const isLocked = (error: unknown): boolean => sqlStateOf(error) === SqlState.lockNotAvailable;

const tableInUse = (table: string) =>
  conflict(
    'projection.table-in-use',
    `${table} was being read by a long transaction all the time, such as a backup or a report, so the rebuilt table could ` +
      `not take its place. Nothing has changed; try again when that transaction has ended (pg_stat_activity shows it).`,
  );

/** The fold of the log into the shadow, as far as it has come. */
class ShadowFold {
  events = 0;
  #position: Position;
  readonly #writer: TableWriter;
  readonly #contiguity: Contiguity;

  constructor(
    private readonly client: pg.Client,
    shadow: Shadow,
    private readonly options: RebuildOptions,
  ) {
    this.#position = options.store.beginning;
    this.#writer = new TableWriter(options.projection.table, shadow.schema);
    this.#contiguity = new Contiguity(`rebuild of ${options.projection.name}`);
  }

  async upTo(end: Position): Promise<void> {
    const { projection, store, batchSize = 5_000, onProgress, signal } = this.options;
    while (store.compare(this.#position, end) < 0) {
      signal?.throwIfAborted();
      const page = await store.readAll({ after: this.#position, limit: batchSize });
      const batch = page.filter((event) => store.compare(event.position, end) <= 0);
      const last: RecordedEvent | undefined = batch.at(-1);
      if (!last) return;
      this.#contiguity.advance(batch);
      for (const [, net] of foldBatch([projection], batch)) await this.#writer.write(this.client, net);
      this.#position = last.position;
      this.events += batch.length;
      onProgress?.(this.events);
    }
  }
}
