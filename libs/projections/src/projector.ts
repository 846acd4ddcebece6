import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { backoffDelay, endClient, messageOf, sessionOptions, type Timestamp } from '#lib/platform';
import type { EventStore, Position, RecordedEvent } from '#lib/event-store';
import {
  advanceCheckpoints,
  createCheckpoints,
  loadCheckpoints,
  loadStreamRevisions,
} from './checkpoints.js';
import { Contiguity } from './contiguity.js';
import { foldBatch } from './fold-batch.js';
import type { Projection } from './projection.js';
import { rebuild } from './rebuild.js';
import { TableWriter } from './table-writer.js';

export interface ProjectorLog {
  info(message: string): void;
  warn(message: string): void;
}

export interface ProjectorOptions {
  /** Names the leader lock and the records; one name is one set of projections that move together. */
  readonly name: string;
  readonly projections: readonly Projection[];
  readonly store: EventStore;
  readonly pool: pg.Pool;
  readonly connectionString: string;
  readonly log: ProjectorLog;
  /** The most events folded in one transaction. */
  readonly batchSize?: number;
  /** How often a process that is not the leader asks to be. */
  readonly standbyIntervalMs?: number;
}

/** `standby`: another process leads. `catching-up`: leads, with a full batch behind it. `failing`: retries after an error. */
export type ProjectorState = 'stopped' | 'standby' | 'catching-up' | 'active' | 'failing';

export interface ProjectorStatus {
  readonly state: ProjectorState;
  readonly position: Position | undefined;
  readonly eventsFolded: number;
  readonly lastError: { readonly message: string; readonly at: Timestamp } | undefined;
}

/** More streams than this in memory, and the oldest knowledge is fetched again. */
const MAX_KNOWN_STREAMS = 50_000;

/**
 * Folds the log into the tables of its projections. Each batch is one transaction: every table is written with
 * set-based statements and the checkpoints move with them, so the effect of each event is there exactly once, whatever
 * is killed when. Any number of processes may run a projector; the one that holds the advisory lock works, and the lock
 * lives on the very connection that writes, so that both end together.
 */
export class Projector {
  readonly #options: Required<ProjectorOptions>;
  readonly #writers: ReadonlyMap<Projection, TableWriter>;
  readonly #contiguity: Contiguity;
  #stop: AbortController | undefined;
  #running: Promise<void> | undefined;
  #state: ProjectorState = 'stopped';
  #position: Position | undefined;
  #eventsFolded = 0;
  #lastError: ProjectorStatus['lastError'];

  constructor(options: ProjectorOptions) {
    this.#options = { batchSize: 2_000, standbyIntervalMs: 500, ...options };
    this.#writers = new Map(
      options.projections.map((projection) => [projection, new TableWriter(projection.table)]),
    );
    this.#contiguity = new Contiguity(options.name);
  }

  get status(): ProjectorStatus {
    return {
      state: this.#state,
      position: this.#position,
      eventsFolded: this.#eventsFolded,
      lastError: this.#lastError,
    };
  }

  start(): void {
    if (this.#running) return;
    this.#stop = new AbortController();
    this.#running = this.#run(this.#stop.signal);
  }

  /** Finishes the batch under way and gives up the lead. */
  async stop(): Promise<void> {
    this.#stop?.abort();
    await this.#running;
    this.#running = undefined;
    this.#state = 'stopped';
  }

  async #run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      try {
        await this.#lead(signal, () => {
          failures = 0;
        });
      } catch (error) {
        failures++;
        this.#state = 'failing';
        this.#lastError = { message: messageOf(error), at: new Date().toISOString() };
        this.#options.log.warn(
          `Projector ${this.#options.name} failed (attempt ${failures}): ${messageOf(error)}`,
        );
        await pause(backoffDelay(failures, 100, 10_000), signal);
      }
    }
  }

  /** Waits for the lead, then folds until told to stop or until something breaks. */
  async #lead(signal: AbortSignal, onProgress: () => void): Promise<void> {
    const { name, connectionString, log } = this.#options;
    const client = new pg.Client({
      connectionString,
      application_name: `waylog projector ${name}`,
      options: sessionOptions,
      statement_timeout: 60_000,
      query_timeout: 65_000,
      connectionTimeoutMillis: 5_000,
      keepAlive: true,
    });
    const broken = new AbortController();
    client.on('error', () => broken.abort());
    client.on('end', () => broken.abort());
    try {
      await client.connect();
      if (!(await this.#awaitLead(client, AbortSignal.any([signal, broken.signal])))) {
        if (!signal.aborted) throw new Error('The connection to the database was lost.');
        return;
      }
      log.info(`Projector ${name} leads`);
      this.#contiguity.reset();
      await this.#prepare(signal);
      await this.#follow(client, AbortSignal.any([signal, broken.signal]), onProgress);
      if (!signal.aborted) throw new Error('The connection to the database was lost.');
    } finally {
      await endClient(client);
    }
  }

  /** Asks again and again rather than wait in the database: a waiting statement would hold back vacuum there. */
  async #awaitLead(client: pg.Client, signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      const { rows } = await client.query<{ leads: boolean }>(`select pg_try_advisory_lock($1) as leads`, [
        leaderLock(this.#options.name),
      ]);
      if (rows[0]?.leads) return true;
      this.#state = 'standby';
      await pause(this.#options.standbyIntervalMs * (0.75 + Math.random() / 2), signal);
    }
    return false;
  }

  /** Makes first checkpoints, and rebuilds what another version of its fold has written. */
  async #prepare(signal: AbortSignal): Promise<void> {
    const { pool, projections, store, log } = this.#options;
    const names = projections.map(({ name }) => name);
    if ((await loadCheckpoints(pool, names)).length === 0)
      await createCheckpoints(pool, projections, store.beginning);
    const known = new Map(
      (await loadCheckpoints(pool, names)).map((checkpoint) => [checkpoint.projection, checkpoint]),
    );
    // A projection that is new among old ones joins them where they are, its table made from the whole log.
    const at = [...known.values()][0]?.position ?? store.beginning;
    const fresh = projections.filter(({ name }) => !known.has(name));
    await createCheckpoints(
      pool,
      fresh.map(({ name }) => ({ name, version: 0 })),
      at,
    );
    for (const projection of projections) {
      if (signal.aborted) return;
      const written = known.get(projection.name)?.version ?? 0;
      if (written === projection.version) continue;
      if (written > projection.version) {
        throw new Error(
          `Projection ${projection.name} was rebuilt by a newer Waylog (fold version ${written}, this process knows ` +
            `${projection.version}). This process leaves the tables to the newer one; stop it when the deployment is done.`,
        );
      }
      log.info(`Projection ${projection.name} was written by another version and is rebuilt from the log`);
      this.#state = 'catching-up';
      await rebuild({ projection, store, connectionString: this.#options.connectionString, signal });
    }
  }

  async #follow(client: pg.Client, signal: AbortSignal, onProgress: () => void): Promise<void> {
    const { store, pool, projections, batchSize } = this.#options;
    const checkpoints = await loadCheckpoints(
      pool,
      projections.map(({ name }) => name),
    );
    const [first] = checkpoints;
    if (!first || checkpoints.some(({ position }) => position !== first.position)) {
      throw new Error(
        `The checkpoints of projector ${this.#options.name} differ: ` +
          checkpoints.map(({ projection, position }) => `${projection} ${position}`).join(', ') +
          '. Rebuild the ones that are behind.',
      );
    }
    this.#position = first.position;
    this.#state = 'active';
    for await (const batch of store.subscribe({ after: first.position, batchSize, signal })) {
      if (signal.aborted) return;
      this.#state = batch.length === batchSize ? 'catching-up' : 'active';
      await this.#write(client, this.#position, batch);
      onProgress();
    }
  }

  /** One batch, one transaction. */
  async #write(client: pg.Client, from: Position, batch: readonly RecordedEvent[]): Promise<void> {
    const { name, projections } = this.#options;
    const to = batch.at(-1)?.position ?? from;
    if (this.#contiguity.size > MAX_KNOWN_STREAMS) this.#contiguity.reset();
    const unknown = this.#contiguity.unknownStreams(batch);
    if (unknown.length > 0) {
      const recorded = await loadStreamRevisions(client, name, unknown);
      for (const streamId of unknown) this.#contiguity.know(streamId, recorded.get(streamId) ?? -1);
    }
    const revisions = this.#contiguity.advance(batch);
    const changes = foldBatch(projections, batch);

    await client.query('begin');
    const move = { projector: name, projections, from, to, revisions };
    if (!(await advanceCheckpoints(client, move))) {
      throw new Error(
        `The checkpoints of projector ${name} are no longer at position ${from}, or belong to another version; starting over from them.`,
      );
    }
    for (const [projection, net] of changes) await this.#writers.get(projection)?.write(client, net);
    await client.query('commit');
    this.#position = to;
    this.#eventsFolded += batch.length;
  }
}

/** The advisory lock of a name: 64 bits of its hash, as the text of a signed number. */
export const leaderLock = (name: string): string =>
  createHash('sha256').update(`waylog projector ${name}`).digest().readBigInt64BE().toString();

const pause = (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }).catch(() => undefined);
