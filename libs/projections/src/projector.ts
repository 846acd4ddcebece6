import pg from 'pg';
import {
  Background,
  backoffDelay,
  isAborted,
  isTooMuch,
  messageOf,
  pause,
  sqlStateOf,
  WaylogError,
  counted,
  afterSpans,
} from '#lib/platform';
import type { ReadableLog, Position, RecordedEvent } from '#lib/event-store';
import { decompressWithoutLimit } from '#lib/timescale';
import type { ProjectorTables } from './at-checkpoint.js';
import { BatchSize } from './batch-size.js';
import { isPoison, writeBatch, writeCarefully, type Poison } from './careful-fold.js';
import {
  advanceCheckpoints,
  announceCheckpoint,
  type Checkpoint,
  createCheckpoints,
  joinCheckpoints,
  loadCheckpoints,
  loadStreamRevisions,
} from './checkpoints.js';
import { adoptLog } from './adopt-log.js';
import { Contiguity } from './contiguity.js';
import { hasDeclaredColumns } from './declared-columns.js';
import { connectionLost, lead } from './lead.js';
import { loadOmissions } from './omissions.js';
import { compareLog, identityOf, recordFoldedLog } from './folded-log.js';
import { lostBeginnings } from './lost-events.js';
import { failedEvent, parkStream } from './parking.js';
import { pausedSince } from './pausing.js';
import type { Projection } from './projection.js';
import { keepReporting, type ProjectorState, type ProjectorStatus } from './projector-status.js';
import { rebuild } from './rebuild.js';
import { TableWriter } from './table-writer.js';
import { Trouble } from './trouble.js';

export interface ProjectorLog {
  info(message: string): void;
  warn(message: string): void;
}

export interface ProjectorOptions {
  /** Names the leader lock and the records; one name is one set of projections that move together. */
  readonly name: string;
  readonly projections: readonly Projection[];
  /** Projectors that keep something derived from these tables. */
  readonly followers?: readonly string[];
  /** The part of the log that is folded: the streams of one context. */
  readonly store: ReadableLog;
  readonly pool: pg.Pool;
  readonly connectionString: string;
  readonly log: ProjectorLog;
  /** The most events folded in one transaction. */
  readonly batchSize?: number;
  /**
   * Makes the tables again from a log that went back and is the same one still. Only for a log that is in another place than the
   * tables: in theirs it cannot, unless somebody has tampered with it, and then they are evidence.
   */
  readonly followsBack?: boolean;
  /** How often a process that is not the leader asks to be. */
  readonly standbyIntervalMs?: number;
}

const PAUSE_POLL_MS = 250;

/** The longest between two attempts. Readers wait five seconds for a position: the tables must not sleep through a recovery. */
const MAX_BACKOFF_MS = 2_000;

/** Nothing holds it up: where its answer does not come, the connection has died while the log was quiet, or was asked in vain. */
const begin = { text: 'begin', query_timeout: 10_000 } as pg.QueryConfig;

/** An event that is too much for the database all by itself is tried so often, in sessions of their own, before it is parked. */
const ATTEMPTS_ALONE = 3;

/** And for so long, where no other stream has an event behind it that could show that the database is well. */
const PATIENCE_ALONE_MS = 30_000;

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
  readonly #batchSize: BatchSize;
  readonly #trouble: Trouble;
  readonly #reporting: Trouble;
  readonly #background = new Background((signal) => this.#run(signal));
  #state: ProjectorState = 'stopped';
  #position: Position | undefined;
  #eventsFolded = 0;
  #lastError: ProjectorStatus['lastError'];
  /** The first revision of each parked stream that is not in the tables. */
  #parked = new Map<string, number>();
  /** How many of these somebody accepted: readers are not told of them. */
  #accepted = 0;
  /** How many streams others had parked when that was read: whoever leads does, and rebuilds. */
  #parkings: number | undefined;
  /** The event that was too much all by itself, and how often. */
  #alone: { readonly position: Position; readonly since: number; failures: number } | undefined;
  /** Whether it is written down which log the tables are folded from. */
  #isLogRecorded = false;

  constructor(options: ProjectorOptions) {
    this.#options = {
      batchSize: 2_000,
      standbyIntervalMs: 500,
      followsBack: false,
      followers: [],
      ...options,
    };
    this.#writers = new Map(
      options.projections.map((projection) => [projection, new TableWriter(projection.table)]),
    );
    this.#contiguity = new Contiguity(options.name);
    this.#trouble = new Trouble(`Projector ${options.name}`, options.log);
    this.#reporting = new Trouble(`Recording the status of projector ${options.name}`, options.log);
    this.#batchSize = new BatchSize(this.#options.batchSize);
  }

  get #tables(): ProjectorTables {
    const { name: projector, projections } = this.#options;
    return { projector, names: projections.map(({ name }) => name) };
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
    this.#background.start();
  }

  /** Finishes the batch under way and gives up the lead. */
  async stop(): Promise<void> {
    await this.#background.stop();
    this.#state = 'stopped';
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#lead(signal);
      } catch (error) {
        this.#fail(error);
        this.#trouble.failed(error);
        await pause(backoffDelay(this.#trouble.failures, 100, MAX_BACKOFF_MS), signal);
      }
    }
    this.#trouble.end();
    this.#reporting.end();
  }

  /** Waits for the lead, then folds until told to stop or until something breaks. */
  #lead(signal: AbortSignal): Promise<void> {
    const { name, connectionString, standbyIntervalMs, log } = this.#options;
    const options = {
      name,
      applicationName: `waylog projector ${name}`,
      connectionString,
      standbyIntervalMs,
      statementTimeoutMs: 30_000,
      onStandby: () => {
        this.#state = 'standby';
      },
      signal,
    };
    return lead(options, async (client, going) => {
      // Whoever fails gives up the lead, and takes it again to try again.
      if (this.#trouble.failures === 0) log.info(`Projector ${name} leads`);
      this.#contiguity.reset();
      await decompressWithoutLimit(client, 'session');
      this.#parkings = undefined;
      const reporting = keepReporting({
        pool: this.#options.pool,
        name,
        leader: client,
        status: () => this.status,
        trouble: this.#reporting,
      });
      try {
        await this.#prepare(signal);
        await this.#follow(client, going);
        if (!signal.aborted) throw connectionLost();
      } catch (error) {
        this.#fail(error);
        throw error;
      } finally {
        await reporting.end();
      }
    });
  }

  #fail(error: unknown): void {
    this.#state = 'failed';
    this.#lastError = { message: messageOf(error), at: new Date().toISOString() };
  }

  /** Makes first checkpoints, and rebuilds what another version of its fold has written, or the fold of another log. */
  async #prepare(signal: AbortSignal): Promise<void> {
    const { name: projector, pool, projections, followers, store, log: say } = this.#options;
    const log = await compareLog(pool, store, projector);
    this.#isLogRecorded = log === 'same';
    // Checkpoints of before any event stand at the beginning of whichever log there was.
    if (log === 'nothing-folded')
      await pool.query(
        `update projection.checkpoints set position = $1 where position <> $1 and projector = any ($2)`,
        [store.beginning, [projector, ...followers]],
      );
    if ((await loadCheckpoints(pool, this.#tables)).length === 0) {
      const asDeclared = await Promise.all(projections.map(({ table }) => hasDeclaredColumns(pool, table)));
      const first = projections.map(({ name, version }, i) => ({
        name,
        version: asDeclared[i] ? version : 0,
      }));
      await createCheckpoints(pool, projector, first, store.beginning);
    }
    const known = new Map(
      (await loadCheckpoints(pool, this.#tables)).map((checkpoint) => [checkpoint.projection, checkpoint]),
    );
    // A projection that is new among old ones joins them where they are, its table made from the whole log.
    const [some] = known.values();
    // Positions of another log cannot be compared.
    const first = log === 'same' ? furthest(store, [...known.values()]) : some;
    const at = first?.position ?? store.beginning;
    const fresh = projections.filter(({ name }) => !known.has(name));
    await createCheckpoints(
      pool,
      projector,
      fresh.map(({ name }) => ({ name, version: 0 })),
      at,
    );
    // So does one that was not declared while the others went on: it lacks what came meanwhile.
    const left = log === 'same' ? [...known.values()].filter(({ position }) => position !== at) : [];
    const outdated: Projection[] = [];
    for (const projection of projections) {
      const written = known.get(projection.name)?.version ?? 0;
      const isLeft = left.some((checkpoint) => checkpoint.projection === projection.name);
      if (written === projection.version && !isLeft) continue;
      if (written > projection.version) {
        throw new Error(
          `Projection ${projection.name} was rebuilt by a newer Waylog (fold version ${written}, this process knows ` +
            `${projection.version}). This process leaves the tables to the newer one; stop it when the deployment is done.`,
        );
      }
      outdated.push(projection);
    }
    const { connectionString, followsBack } = this.#options;
    const isPast = log === 'same' && followsBack && (await isPastEnd(store, first));
    if (log === 'other' || isPast) {
      say.info(
        isPast
          ? `The log went back, and ends before position ${at}, up to which the tables hold it: they are made again from what is there`
          : 'The log has moved: the tables are rebuilt from where it is now',
      );
      this.#state = 'catching-up';
      const adopted = await adoptLog({
        projector,
        projections,
        followers,
        store,
        connectionString,
        onlyIfWhole: !isPast,
        signal,
      });
      this.#isLogRecorded = true;
      say.info(
        `The tables hold the ${counted(adopted.events, 'event')} of the log up to position ${adopted.position}`,
      );
      return;
    }
    if (outdated.length === 0) return;
    await joinCheckpoints(pool, projector, left, at);
    say.info(
      `Written by another version, or not kept for a while, and rebuilt from the log: ${outdated.map((p) => p.name).join(', ')}`,
    );
    this.#state = 'catching-up';
    await rebuild({ projector, projections: outdated, store, connectionString, signal });
  }

  async #follow(client: pg.Client, signal: AbortSignal): Promise<void> {
    const { store, batchSize } = this.#options;
    for (;;) {
      const from = await this.#whereItStands(signal);
      if (from === undefined) return;
      this.#position = from;
      this.#state = 'active';
      this.#trouble.began();
      for await (const batch of store.subscribe({ after: from, batchSize, signal })) {
        if (isAborted(signal)) return;
        this.#state = batch.length === batchSize ? 'catching-up' : 'active';
        if (!(await this.#writeInParts(client, batch))) break;
      }
    }
  }

  /** As many events in one transaction as the database can do; false when it has to be looked again where it stands. */
  async #writeInParts(client: pg.Client, batch: readonly RecordedEvent[]): Promise<boolean> {
    for (let rest = batch; rest.length > 0;) {
      const part = rest.slice(0, this.#batchSize.now);
      const began = performance.now();
      try {
        if (!(await this.#fold(client, part))) return false;
      } catch (error) {
        if (!isTooMuch(error)) throw error;
        return await this.#tooMuch(client, rest, part, error);
      }
      this.#batchSize.wentWell(performance.now() - began);
      this.#alone = undefined;
      this.#trouble.succeeded();
      rest = rest.slice(part.length);
    }
    return true;
  }

  /**
   * Goes on with fewer events; and parks one that is too much by itself, again and again, while the next one of another stream
   * goes through: then it is not the database that is slow, or short of something, for everybody. Throws to try again later.
   */
  async #tooMuch(
    client: pg.Client,
    rest: readonly RecordedEvent[],
    part: readonly RecordedEvent[],
    error: unknown,
  ): Promise<false> {
    const [event] = part as [RecordedEvent];
    this.#batchSize.wasTooMuch(part.length);
    // A session without an answer is lost.
    if (sqlStateOf(error) === undefined) throw error;
    await client.query('rollback');
    this.#contiguity.reset();
    if (part.length > 1) {
      this.#options.log.warn(
        `Projector ${this.#options.name}: ${part.length} events were too much for one transaction (${messageOf(error)}), ` +
          `it goes on with ${this.#batchSize.now}.`,
      );
      return false;
    }
    if (this.#alone?.position !== event.position)
      this.#alone = { position: event.position, since: performance.now(), failures: 0 };
    this.#alone.failures++;
    const other = rest.findIndex(({ streamId }) => streamId !== event.streamId);
    const isPatient = other < 0 && performance.now() - this.#alone.since < PATIENCE_ALONE_MS;
    if (this.#alone.failures < ATTEMPTS_ALONE || isPatient) throw error;
    try {
      await this.#write(client, other < 0 ? part : rest.slice(0, other + 1), {
        event,
        error: messageOf(error),
      });
    } catch (ofOther) {
      // That one neither: nobody is parked for what the database cannot do for anybody.
      throw isTooMuch(ofOther) ? error : ofOther;
    }
    this.#alone = undefined;
    return false;
  }

  /** The checkpoint to go on from, once nobody has the projector paused; nothing when told to stop meanwhile. */
  async #whereItStands(signal: AbortSignal): Promise<Position | undefined> {
    const { pool, store, name, log } = this.#options;
    for (let said = false; await pausedSince(pool, [name]); said = true) {
      if (!said) log.info(`Projector ${name} is paused`);
      this.#state = 'paused';
      await pause(PAUSE_POLL_MS, signal);
      if (isAborted(signal)) return undefined;
    }
    if (isAborted(signal)) return undefined;
    const checkpoints = await loadCheckpoints(pool, this.#tables);
    const [first] = checkpoints;
    if (!first || checkpoints.some(({ position }) => position !== first.position)) {
      throw new Error(
        `The checkpoints of projector ${name} differ: ` +
          checkpoints.map(({ projection, position }) => `${projection} ${position}`).join(', ') +
          '. Rebuild the ones that are behind.',
      );
    }
    if (!(await store.reaches(first.position, Date.parse(first.updatedAt)))) {
      throw new Error(
        `The tables hold the log up to position ${first.position}, but it ends at ${await store.head()}: it has lost events, such as by the ` +
          `restore of an old backup. Nothing was written. If the log cannot be brought back, rebuild the tables from ` +
          `what is left of it: \`waylog projections adopt --yes\`.`,
      );
    }
    return first.position;
  }

  /** Writes a batch, in a span that is linked to those of the commands whose traces are kept. */
  #fold(client: pg.Client, batch: readonly RecordedEvent[]): Promise<boolean> {
    const { name } = this.#options;
    const causes = batch.map(({ metadata }) => metadata.traceparent);
    const attributes = { 'waylog.projector': name, 'waylog.events': batch.length };
    return afterSpans(`fold ${name}`, causes, attributes, () => this.#write(client, batch));
  }

  /** One batch, one transaction; false when the projector was paused, and nothing was written. With `poison`, that is parked. */
  async #write(client: pg.Client, batch: readonly RecordedEvent[], poison?: Poison): Promise<boolean> {
    const { name, projections, store } = this.#options;
    const from = this.#position ?? store.beginning;
    const identity = this.#isLogRecorded ? undefined : await identityOf(store);
    const to = batch.at(-1)?.position ?? from;
    if (this.#contiguity.size > MAX_KNOWN_STREAMS) this.#contiguity.reset();
    const unknown = this.#contiguity.unknownStreams(batch);
    if (unknown.length > 0) {
      const recorded = await loadStreamRevisions(client, name, unknown);
      for (const streamId of unknown) this.#contiguity.know(streamId, recorded.get(streamId) ?? -1);
    }
    const lost = await lostBeginnings(store, this.#contiguity.gaps(batch), batch);
    const revisions = this.#contiguity.advance(batch, new Set(lost.map(({ event }) => event.streamId)));
    const move = { projector: name, projections, from, to, revisions };
    const toPark = poison ? [poison, ...lost] : lost;
    let isCareful = toPark.length > 0;
    if (!isCareful) {
      try {
        await client.query(begin);
        const parkings = await advanceCheckpoints(client, {
          ...move,
          parked: this.#parked.size - this.#accepted,
        });
        if (parkings === undefined) return await this.#refused(client, from);
        if (await this.#learnParked(client, parkings)) await announceCheckpoint(client, name, to);
        await writeBatch(client, this.#writers, await this.#notParked(client, batch));
      } catch (error) {
        if (!isPoison(error)) throw error;
        await client.query('rollback');
        isCareful = true;
      }
    }
    if (isCareful) {
      await client.query(begin);
      // Announced at the end, when it is known what has been parked.
      const parkings = await advanceCheckpoints(client, move);
      if (parkings === undefined) return await this.#refused(client, from);
      await this.#learnParked(client, parkings);
      for (const one of toPark) await this.#park(client, one);
      await this.#writeAround(client, await this.#notParked(client, batch));
      await announceCheckpoint(client, name, to);
    }
    if (identity) await recordFoldedLog(client, name, identity);
    await client.query('commit');
    if (identity) this.#isLogRecorded = true;
    this.#position = to;
    this.#eventsFolded += batch.length;
    return true;
  }

  /** Somebody else has moved the checkpoints, which is an error, or paused the projector. */
  async #refused(client: pg.Client, from: Position): Promise<false> {
    const { pool, name } = this.#options;
    await client.query('rollback');
    this.#contiguity.reset();
    if (await pausedSince(pool, [name])) return false;
    throw new Error(
      `The checkpoints of projector ${name} are no longer at position ${from}, or belong to another version; starting over from them.`,
    );
  }

  /** Reads which streams are parked where others have parked some, and says whether that was so. */
  async #learnParked(client: pg.Client, parkings: number): Promise<boolean> {
    if (parkings === this.#parkings) return false;
    await this.#loadParked(client);
    this.#parkings = parkings;
    return true;
  }

  async #loadParked(client: pg.Client): Promise<void> {
    const { parkedFrom, accepted } = await loadOmissions(client, this.#options.name);
    this.#parked = new Map(parkedFrom);
    this.#accepted = accepted.size;
  }

  /** Without the events of parked streams. Others may have taken streams out of parking since. */
  async #notParked(client: pg.Client, batch: readonly RecordedEvent[]): Promise<readonly RecordedEvent[]> {
    if (this.#parked.size === 0 || !batch.some(({ streamId }) => this.#parked.has(streamId))) return batch;
    // Whoever unparks a stream holds the checkpoints for it, as this transaction does now: what it reads is settled.
    await this.#loadParked(client);
    return batch.filter(({ streamId, revision }) => revision < (this.#parked.get(streamId) ?? Infinity));
  }

  /** Writes what can be written of a batch, and parks the streams of the rest. */
  async #writeAround(client: pg.Client, batch: readonly RecordedEvent[]): Promise<void> {
    for (const poison of await writeCarefully(client, this.#writers, batch)) await this.#park(client, poison);
  }

  async #park(client: pg.Client, poison: Poison): Promise<void> {
    const { name, log } = this.#options;
    const { streamId, revision, type, position } = failedEvent(poison);
    await parkStream(client, name, poison);
    this.#parked.set(streamId, Math.min(revision, this.#parked.get(streamId) ?? Infinity));
    log.warn(
      `Projector ${name} has parked ${streamId} from revision ${revision} on: its ${type} at position ${position} ` +
        `cannot be projected (${poison.error}). Other streams go on. See \`waylog parked list\`.`,
    );
  }
}

/** Where the tables of a projector are that were not left behind. */
const furthest = (store: ReadableLog, checkpoints: readonly Checkpoint[]): Checkpoint | undefined =>
  checkpoints.reduce<Checkpoint | undefined>(
    (last, next) => (last && store.compare(last.position, next.position) >= 0 ? last : next),
    undefined,
  );

/** Whether the log has lost what stands at a checkpoint. */
async function isPastEnd(store: ReadableLog, checkpoint: Checkpoint | undefined): Promise<boolean> {
  if (!checkpoint) return false;
  const { position, updatedAt } = checkpoint;
  if (!(await store.reaches(position, Date.parse(updatedAt)))) return true;
  try {
    await store.refuseLost(position, position);
    return false;
  } catch (error) {
    if (error instanceof WaylogError && error.code === 'position.lost') return true;
    throw error;
  }
}
