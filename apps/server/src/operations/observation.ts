import { statfs } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { IsInt, IsNumber, IsString, Min } from 'class-validator';
import pg from 'pg';
import type { BackupStanding } from '#lib/backup';
import { losses } from '#lib/event-store';
import {
  LOG_POOL,
  TABLES_POOL,
  RunningContexts,
  RunningReactors,
  type CollectionStanding,
  type FilesStanding,
} from '#lib/waylog';
import { inTime, messageOf, Optional, whyReadOnly, type Config } from '#lib/platform';
import { integrityFindings, lockRoom, type ProjectionStatus } from '#lib/projections';
import type { ReactorStatus } from '#lib/reactors';
import {
  capabilities,
  jobTroubles,
  queryOn,
  readerSessions,
  type Capabilities,
  type JobTrouble,
  type ReaderSession,
} from '#lib/timescale';
import { CONFIG } from '../config.js';
import { Pools, type ConnectionPoolStatus } from './pools.js';
import { ScheduledWork } from './scheduled-work.js';

/** A standby of this server. */
export class Replica {
  @IsString() readonly name!: string;
  @IsString() readonly state!: string;
  /** WAL that it has not replayed yet. */
  @IsInt() @Min(0) readonly lagBytes!: number;
  @Optional() @IsNumber() @Min(0) readonly lagSeconds?: number;
}

/** What the database reports about itself. */
export interface DatabaseFacts {
  readonly capabilities: Capabilities;
  readonly activeConnections: number;
  readonly totalConnections: number;
  readonly maxConnections: number;
  readonly databaseBytes: number;
  readonly replicas: readonly Replica[];
  /** The free share of the disk under the data, 0 to 1; undefined if it cannot be seen from here. */
  readonly diskUsedShare: number | undefined;
  readonly openFindings: number;
  /** Times that the log went back, which no operator has acknowledged. */
  readonly openLosses: number;
  /** Locks needed to rebuild the table with the most chunks, as a share of all locks. */
  readonly lockShare: number | undefined;
  /** Jobs of TimescaleDB that fail or do not run, such as policies. */
  readonly jobTroubles: readonly JobTrouble[];
  /** Sessions of ad-hoc SQL, of all servers, the oldest first. */
  readonly readerSessions: readonly ReaderSession[];
  /** Why it accepts no writes; undefined if it accepts them. */
  readonly readOnly: string | undefined;
}

/** Everything that health, metrics and alerts report, at one moment. */
export interface Observation {
  readonly at: number;
  readonly pool: ConnectionPoolStatus;
  readonly database: DatabaseFacts | undefined;
  readonly projections: readonly ProjectionStatus[];
  readonly reactors: readonly ReactorStatus[];
  /** The number of things in the log that are not as recorded; undefined if this server signs no digests. */
  readonly auditProblems: number | undefined;
  /** How long ago the log was checked, and for how long checks have failed. */
  readonly auditLookedSecondsAgo: number | undefined;
  readonly auditStalledSeconds: number | undefined;
  /** The state of scheduled backups; undefined if this server makes none. */
  readonly backups: BackupStanding | undefined;
  /** How the files stood when this server last looked through them; undefined if it does not. */
  readonly files: FilesStanding | undefined;
  /** How removing the files went that no event needs; undefined if this server does not do it. */
  readonly fileCollection: CollectionStanding | undefined;
  /** Why the rest is missing: the database did not answer, or the log did not, if it is elsewhere. */
  readonly error: string | undefined;
  /** For how many seconds the log has not answered while the database did; 0 if all is well. */
  readonly logDownSeconds: number;
}

/** Every scrape, probe and alert asks, so a recent observation is good enough. */
const FRESH_MS = 1_000;
/**
 * The time between two observations for callers that need a current one, and need no key: thousands of them cost no
 * more than one.
 */
const ANEW_MS = 500;

/** A probe must be answered before its caller gives up. */
const ANSWER_WITHIN_MS = 3_000;

@Injectable()
export class Observer {
  #last: Promise<Observation> | undefined;
  #lastAt = 0;
  /** The observation that has not begun yet, shared by all who ask until then. */
  #next: Promise<Observation> | undefined;
  #logDownSince: number | undefined;
  #seen: Observation | undefined;

  constructor(
    /** A separate session, so that queries which wait for a lock hide nothing. */
    @Inject(LOG_POOL) private readonly pool: pg.Pool,
    /** A role that can see what other sessions do. */
    @Inject(TABLES_POOL) private readonly tables: pg.Pool,
    private readonly contexts: RunningContexts,
    private readonly reactors: RunningReactors,
    @Inject(CONFIG) private readonly config: Config,
    private readonly work: ScheduledWork,
    private readonly pools: Pools,
  ) {}

  /**
   * Never throws: that the database does not answer is an observation too. `anew` asks for one that begins after the
   * call.
   */
  observe({ anew = false } = {}): Promise<Observation> {
    const age = performance.now() - this.#lastAt;
    if (!this.#last || age > (anew ? ANEW_MS : FRESH_MS)) return this.#begin();
    return anew ? (this.#next ??= sleep(ANEW_MS - age).then(() => this.#begin())) : this.#last;
  }

  #begin(): Promise<Observation> {
    this.#next = undefined;
    this.#lastAt = performance.now();
    this.#last = this.#look();
    return this.#last;
  }

  async #look(): Promise<Observation> {
    // The database can answer while the log does not: it may be elsewhere.
    const [facts, states, reactors] = await Promise.allSettled([
      answered('the database', this.#facts()),
      answered('the log', this.contexts.states(this.pool)),
      answered('the log', this.reactors.states()),
    ]);
    const failed = [facts, states, reactors].find(({ status }) => status === 'rejected') as
      PromiseRejectedResult | undefined;
    const isLogDown = facts.status === 'fulfilled' && failed !== undefined;
    this.#logDownSince = isLogDown ? (this.#logDownSince ?? performance.now()) : undefined;
    this.#seen = {
      at: Date.now(),
      pool: this.pools.status(),
      database: facts.status === 'fulfilled' ? facts.value : undefined,
      projections: states.status === 'fulfilled' ? states.value : [],
      reactors: reactors.status === 'fulfilled' ? reactors.value : [],
      auditProblems: this.work.auditProblems,
      auditLookedSecondsAgo: this.work.auditLookedSecondsAgo,
      auditStalledSeconds: this.work.auditStalledSeconds,
      backups: this.work.backups,
      files: this.work.files,
      fileCollection: this.work.fileCollection,
      error: failed && messageOf(failed.reason),
      logDownSeconds: this.#logDownSince === undefined ? 0 : (performance.now() - this.#logDownSince) / 1_000,
    };
    return this.#seen;
  }

  /** What did not answer, according to the last observation; undefined if all did. */
  get silent(): string | undefined {
    if (this.#seen?.error === undefined) return undefined;
    return this.#seen.database
      ? `the log does not answer (${this.#seen.error})`
      : `the database does not answer (${this.#seen.error})`;
  }

  async #facts(): Promise<DatabaseFacts> {
    const [found, counts, replicas, findings, lost, troubles, locks, sessions, readOnly] = await Promise.all([
      capabilities(this.pool),
      this.tables.query<{ active: number; total: number; max: number; bytes: string; folder: string | null }>(
        `select count(*) filter (where state <> 'idle')::integer as active, count(*)::integer as total,
                current_setting('max_connections')::integer as max,
                pg_database_size(current_database()) as bytes,
                case when pg_has_role('pg_read_all_settings', 'usage')
                     then current_setting('data_directory', true) end as folder
           from pg_stat_activity where datname = current_database()`,
      ),
      this.tables.query<{ name: string; state: string; bytes: string; seconds: number | null }>(
        `select application_name as name, state,
                coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint as bytes,
                extract(epoch from replay_lag)::double precision as seconds
           from pg_stat_replication where not pg_is_in_recovery()`,
      ),
      integrityFindings(this.pool, { open: true }),
      losses(this.pool, { open: true }),
      jobTroubles(queryOn(this.tables)),
      lockRoom(this.tables),
      // The application role is a member of the reader.
      readerSessions(queryOn(this.pool)),
      whyReadOnly(this.pool),
    ]);
    const row = counts.rows[0];
    return {
      capabilities: found,
      activeConnections: row?.active ?? 0,
      totalConnections: row?.total ?? 0,
      maxConnections: row?.max ?? 0,
      databaseBytes: Number(row?.bytes ?? 0),
      replicas: replicas.rows.map(({ name, state, bytes, seconds }) => ({
        name,
        state,
        lagBytes: Math.max(0, Number(bytes)),
        ...(seconds !== null && { lagSeconds: Math.max(0, seconds) }),
      })),
      diskUsedShare: await this.#diskUsed(row?.folder ?? undefined, Number(row?.bytes ?? 0)),
      openFindings: findings.length,
      openLosses: lost.length,
      lockShare: locks && locks.needed / locks.room,
      jobTroubles: troubles,
      readerSessions: sessions,
      readOnly,
    };
  }

  /** By the size that the operator has set; otherwise by the file system, if the data folder is on this machine. */
  async #diskUsed(folder: string | undefined, databaseBytes: number): Promise<number | undefined> {
    if (this.config.databaseLimitBytes > 0) return databaseBytes / this.config.databaseLimitBytes;
    if (folder === undefined || !isHere(this.config.databaseUrl)) return undefined;
    // The folder of a container cannot be seen from here. That is not an error.
    const disk = await statfs(folder).catch(() => undefined);
    return disk && 1 - disk.bavail / disk.blocks;
  }
}

/** What comes later is ignored, and so is its failure. */
const answered = <T>(who: string, answer: Promise<T>): Promise<T> =>
  inTime(
    ANSWER_WITHIN_MS,
    answer,
    () => new Error(`${who} has not answered within ${ANSWER_WITHIN_MS / 1_000} s`),
  );
const isHere = (databaseUrl: string): boolean =>
  ['127.0.0.1', 'localhost', '[::1]', ''].includes(new URL(databaseUrl).hostname);
