import type { ClientBase, Pool } from 'pg';
import {
  asText,
  databaseCall,
  readRows,
  timestampFromPostgres,
  unavailable,
  WaylogError,
  type Listener,
  type Timestamp,
} from '#lib/platform';
import type { ReadableLog, Position } from '#lib/event-store';

import type { ProjectorTables } from './at-checkpoint.js';
import { compareLog } from './folded-log.js';
import { pausedSince } from './pausing.js';

/** The channel on which projectors announce a new checkpoint, as `<projector> <position> <parked streams>`. */
/** Told whenever tables have moved: `<projector> <position> <parked streams>`. */
export const CHECKPOINTS_CHANNEL = 'waylog_checkpoints';

export interface Checkpoint {
  readonly projection: string;
  readonly version: number;
  readonly position: Position;
  readonly updatedAt: Timestamp;
}

const loadSql = `
  select projection, version, position, updated_at
    from projection.checkpoints where projector = $1 and projection = any ($2)`;

export async function loadCheckpoints(
  pool: Pool,
  { projector, names }: ProjectorTables,
): Promise<Checkpoint[]> {
  const rows = await readRows(pool, 'projection.checkpoints', loadSql, [projector, names]);
  return rows.map(([projection, version, position, updatedAt]) => ({
    projection: projection as string,
    version: Number(version),
    position: position as string,
    updatedAt: timestampFromPostgres(updatedAt as string),
  }));
}

/** The smallest checkpoint of these projections; the beginning if there are none. */
export const leastPosition = (store: ReadableLog, checkpoints: readonly Checkpoint[]): Position =>
  checkpoints
    .map(({ position }) => position)
    .reduce(
      (least, p) => (store.compare(p, least) < 0 ? p : least),
      checkpoints[0]?.position ?? store.beginning,
    );

/**
 * The first statement of a projector's transaction: any other process that moves or swaps these projections waits for
 * it.
 */
const advanceSql = `
  with moved as (
    update projection.checkpoints c set position = $3, updated_at = clock_timestamp()
      from unnest($1::text[], $7::integer[]) as p (name, version)
     where c.projector = $4 and c.projection = p.name and c.version = p.version and c.position = $2 and c.paused_at is null
    returning c.parkings
  ), streams as (
    insert into projection.stream_revisions (projector, stream_id, revision)
    select $4, * from unnest($5::text[], $6::integer[])
    on conflict (projector, stream_id) do update set revision = excluded.revision
  ), announced as (
    select pg_notify('${CHECKPOINTS_CHANNEL}', $4 || ' ' || $3 || ' ' || $8) where $8::text is not null
  )
  select count(*)::text, sum(parkings)::text, (select count(*) from announced)::text from moved`;

/**
 * Moves the checkpoints of a projector inside its transaction, and returns how many of its streams others have parked.
 * Returns nothing if a checkpoint is not where it was expected, belongs to another version of its fold by now, or is
 * paused.
 */
export async function advanceCheckpoints(
  client: ClientBase,
  move: {
    readonly projector: string;
    readonly projections: readonly { readonly name: string; readonly version: number }[];
    readonly from: Position;
    readonly to: Position;
    readonly revisions: ReadonlyMap<string, number>;
    /** How many streams are parked, and not accepted, to be announced with the move; without it nothing is announced. */
    readonly parked?: number;
  },
): Promise<number | undefined> {
  const { rows } = await client.query<[string, string | null]>({
    name: 'projection.advance',
    text: advanceSql,
    values: [
      move.projections.map(({ name }) => name),
      move.from,
      move.to,
      move.projector,
      [...move.revisions.keys()],
      [...move.revisions.values()],
      move.projections.map(({ version }) => version),
      move.parked === undefined ? null : String(move.parked),
    ],
    rowMode: 'array',
    types: asText,
  });
  const [moved, parkings] = rows[0] ?? [];
  return Number(moved) === move.projections.length ? Number(parkings) : undefined;
}

/**
 * Announces, with the commit of the transaction, where a projector's checkpoint is and how many streams it has parked.
 */
export const announceCheckpoint = (client: ClientBase, projector: string, position: Position) =>
  client.query(
    `select pg_notify('${CHECKPOINTS_CHANNEL}', $1 || ' ' || $2 || ' ' || count(*))
       from projection.parked_streams where projector = $1 and accepted_at is null`,
    [projector, position],
  );

export async function loadStreamRevisions(client: ClientBase, projector: string, streams: readonly string[]) {
  const { rows } = await client.query<{ stream_id: string; revision: number }>(
    `select stream_id, revision from projection.stream_revisions where projector = $1 and stream_id = any ($2)`,
    [projector, streams],
  );
  return new Map(rows.map(({ stream_id, revision }) => [stream_id, revision]));
}

/** The last revision that a projector has folded, or parked, of every stream. */
export async function loadStreamRevisionsOf(
  client: ClientBase,
  projector: string,
): Promise<Map<string, number>> {
  const { rows } = await client.query<{ stream_id: string; revision: number }>(
    `select stream_id, revision from projection.stream_revisions where projector = $1`,
    [projector],
  );
  return new Map(rows.map(({ stream_id, revision }) => [stream_id, revision]));
}

interface Waiter {
  readonly position: Position;
  readonly resolve: () => void;
}

/** Lets readers wait until the tables of a projector hold what was written up to a position. */
export class CheckpointWatch {
  readonly #waiters = new Set<Waiter>();
  readonly #off: () => void;
  #reached: Position;
  /** How many streams were parked when that was reached. */
  #parked = 0;
  #polling = false;
  /** Checkpoints count only once they are known to be of this log: positions of another log can look the same. */
  #isOurLog = false;
  #wake: (() => void) | undefined;

  constructor(
    private readonly pool: Pool,
    listener: Listener,
    private readonly store: ReadableLog,
    private readonly tables: ProjectorTables,
    /** The projector whose record says which log they are folded from: a follower follows another one. */
    private readonly follows: string = tables.projector,
    private readonly pollIntervalMs = 250,
  ) {
    this.#reached = store.beginning;
    this.#off = listener.on(CHECKPOINTS_CHANNEL, (payload) => {
      const [projector, position, parked] = payload.split(' ');
      if (payload === '') this.#startOver();
      else if (projector !== this.tables.projector || !position) return;
      else if (this.#isOurLog) this.#advance(position, Number(parked ?? 0));
      else this.#wake?.();
    });
  }

  /**
   * Resolves when every table of the projector holds the events up to `position`. Throws `projection.behind` after
   * `timeoutMs`, `position.lost` for that of a lost event, and `position.invalid` for a text that is not a position.
   */
  async waitFor(position: Position, timeoutMs: number): Promise<void> {
    await this.store.refuseLost(position, this.#reached);
    // A context without tables has nothing to wait for.
    if (this.tables.names.length === 0 || this.store.compare(this.#reached, position) >= 0) return;
    await this.#arrival(position, timeoutMs);
    await this.store.refuseLost(position, this.#reached);
  }

  async #arrival(position: Position, timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        reject(this.#behind(position, timeoutMs));
      }, timeoutMs);
      const waiter: Waiter = {
        position,
        resolve: () => {
          clearTimeout(timer);
          this.#waiters.delete(waiter);
          resolve();
        },
      };
      this.#waiters.add(waiter);
      // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it never fails: a look that does is tried again
      this.#poll();
    });
  }

  /**
   * For a reader of one stream that has waited for a position: throws `projection.parked` if the stream's events up to
   * there are not all in the tables, and will not be until an operator acts. Once an operator has accepted that, as when
   * an event is discarded, the reader gets what there is.
   */
  async refuseParked(streamId: string, position: Position): Promise<void> {
    if (this.#parked === 0) return;
    const rows = await readRows(
      this.pool,
      'projection.parked',
      `select stream_id, position, type, revision from projection.parked_streams
        where projector = $1 and accepted_at is null`,
      [this.tables.projector],
    );
    this.#parked = rows.length;
    const row = rows.find(([id]) => id === streamId);
    if (!row || this.store.compare(position, row[1] as string) < 0) return;
    throw unavailable(
      'projection.parked',
      `The tables hold ${streamId} only up to revision ${Number(row[3]) - 1}: its next event, ${row[2]}, cannot be ` +
        `projected and is parked. What was written is in the log, and can be read with asOf or without a minimum ` +
        `position. An operator can retry or discard the event: \`waylog parked list\`.`,
      { streamId, retryAfterSeconds: 30 },
    );
  }

  /** Why the tables do not hold a stream up to a position after so many milliseconds; undefined if they do. */
  async lacks(streamId: string, position: Position, patienceMs: number): Promise<string | undefined> {
    const paused = await pausedSince(this.pool, [this.tables.projector]);
    try {
      await this.waitFor(position, patienceMs);
    } catch (error) {
      if (!(error instanceof WaylogError) || error.code !== 'projection.behind') throw error;
      const { reached } = error.data;
      return paused === undefined
        ? `The tables hold the log up to position ${String(reached)}: they are behind, or no projector runs. See \`waylog projections\`.`
        : `The tables hold the log up to position ${String(reached)}: somebody has paused the projector at ${paused}. They follow after \`waylog projections resume\`.`;
    }
    try {
      await this.refuseParked(streamId, position);
      return undefined;
    } catch (error) {
      if (!(error instanceof WaylogError) || error.code !== 'projection.parked') throw error;
      return `The tables hold ${streamId} only up to an event that cannot be projected: it is parked. They follow after \`waylog parked retry\` or \`waylog parked discard\`; \`waylog parked list\` says why.`;
    }
  }

  close(): void {
    this.#off();
  }

  /**
   * Called after a lost connection: the tables can be behind what was known of them, as those of a replica that took
   * over are.
   */
  #startOver(): void {
    this.#reached = this.store.beginning;
    this.#isOurLog = false;
    this.#wake?.();
  }

  #advance(position: Position, parked: number): void {
    if (!Number.isInteger(parked)) return;
    this.#parked = parked;
    if (this.store.compare(position, this.#reached) > 0) this.#reached = position;
    for (const waiter of this.#waiters) {
      if (this.store.compare(this.#reached, waiter.position) >= 0) waiter.resolve();
    }
  }

  /**
   * Polls besides the notifications while there are readers waiting: a notification can be lost with its connection.
   */
  async #poll(): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    for (let looks = 0; this.#waiters.size > 0; looks++) {
      await this.#look().catch(() => undefined);
      // Most wait for an event of these tables, which comes within milliseconds.
      if (looks > 0) await this.#passOthers().catch(() => undefined);
      if (this.#waiters.size === 0) break;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.pollIntervalMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    this.#polling = false;
  }

  async #look(): Promise<void> {
    const { projector, names } = this.tables;
    this.#isOurLog ||= (await compareLog(this.pool, this.store, this.follows)) === 'same';
    if (!this.#isOurLog) return;
    const rows = await readRows(
      this.pool,
      'projection.look',
      `select position, (select count(*) from projection.parked_streams where projector = $2 and accepted_at is null)
         from projection.checkpoints where projector = $2 and projection = any ($1)
          -- Of no version: it has a place among the others, and its table is still to be made.
          and version > 0`,
      [names, projector],
    );
    const [first] = rows;
    if (!first || rows.length < names.length) return;
    const positions = rows.map(([position]) => position as string);
    const least = positions.reduce((a, b) => (this.store.compare(b, a) < 0 ? b : a));
    this.#advance(least, Number(first[1]));
  }

  /** A position can be that of an event that is not folded here. The tables hold it if no event of theirs is missing before it. */
  async #passOthers(): Promise<void> {
    // Tables that hold nothing yet hold what is recorded of others, whichever log that is in.
    if (!this.#isOurLog && (await compareLog(this.pool, this.store, this.follows)) !== 'nothing-folded')
      return;
    for (const { position, resolve } of [...this.#waiters]) {
      // In this order: what is recorded from now on comes after all that the log has reached.
      if (!(await this.store.reaches(position, Date.now()))) continue;
      const [next] = await this.store.readAll({ after: this.#reached, limit: 1 });
      if (!next || this.store.compare(next.position, position) > 0) resolve();
    }
  }

  #behind(position: Position, timeoutMs: number) {
    return unavailable(
      'projection.behind',
      `The tables hold the log up to position ${this.#reached}; position ${position} was asked for and did not arrive ` +
        `within ${timeoutMs} ms. Try again in a moment, or read without a minimum position.`,
      { position, reached: this.#reached },
    );
  }
}

/** Writes the first checkpoints of projections that have none, at the beginning of the log. */
export const createCheckpoints = (
  pool: Pool,
  projector: string,
  projections: readonly { readonly name: string; readonly version: number }[],
  beginning: Position,
) =>
  databaseCall(() =>
    pool.query(
      `insert into projection.checkpoints (projector, projection, version, position)
       select $4, p.name, p.version, $3 from unnest($1::text[], $2::integer[]) as p (name, version)
       on conflict do nothing`,
      [projections.map(({ name }) => name), projections.map(({ version }) => version), beginning, projector],
    ),
  );

/** Takes projections that were left behind to where the others are, as of no version: they have to be made again. */
export const joinCheckpoints = (
  pool: Pool,
  projector: string,
  left: readonly Checkpoint[],
  position: Position,
) =>
  databaseCall(() =>
    pool.query(
      `update projection.checkpoints set version = 0, position = $1, updated_at = clock_timestamp()
        where projector = $2 and projection = any ($3)`,
      [position, projector, left.map(({ projection }) => projection)],
    ),
  );
