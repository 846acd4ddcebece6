import {
  Inject,
  Injectable,
  Logger,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
  type OnModuleDestroy,
} from '@nestjs/common';
import type pg from 'pg';
import { checkingKeys, DigestSchedule, signingKey } from '#lib/audit';
import type { BackupSchedule, BackupStanding } from '#lib/backup';
import type { EventStore } from '#lib/event-store';
import { Files } from '#lib/files';
import {
  DATABASE_ACCESS,
  EVENT_STORE,
  FileSchedule,
  LOG_POOL,
  RunningContexts,
  TABLES_POOL,
  tablesOf,
  type CollectionStanding,
  type FilesStanding,
} from '#lib/waylog';
import type { Config } from '#lib/platform';
import { ScheduledVerification } from '#lib/projections';
import { retainedSince, RetentionSchedule, type DatabaseAccess } from '#lib/timescale';
import { backupSchedule } from '../admin/backups.js';
import { CONFIG } from '../config.js';

/** The recurring work of a server with the role projector: verify, apply the retention, sign digests, make backups, remove files. */
@Injectable()
export class ScheduledWork implements OnApplicationBootstrap, OnModuleDestroy, BeforeApplicationShutdown {
  readonly #digests: DigestSchedule | undefined;
  readonly #backups: BackupSchedule | undefined;
  readonly #files: FileSchedule;
  readonly #schedules: readonly { start(): void; stop(): Promise<void> }[];
  #stopped: Promise<unknown> | undefined;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(EVENT_STORE) store: EventStore,
    contexts: RunningContexts,
    @Inject(TABLES_POOL) tables: pg.Pool,
    @Inject(LOG_POOL) pool: pg.Pool,
    @Inject(DATABASE_ACCESS) access: DatabaseAccess,
    files: Files,
  ) {
    const { auditKey, auditPublicKeys, auditFolder, eventStore } = config;
    if (auditKey !== undefined && eventStore !== undefined)
      logOf('Audit').warn('WAYLOG_AUDIT_KEY signs nothing: the log is in EventStoreDB, and not chained.');
    else if (auditKey !== undefined) {
      if (auditFolder === undefined)
        logOf('Audit').warn(
          'Digests are kept in the database alone: who throws them away there, throws away what they prove. Set WAYLOG_AUDIT_DIR to a folder elsewhere.',
        );
      this.#digests = new DigestSchedule({
        pool,
        key: signingKey(auditKey),
        keys: checkingKeys(auditPublicKeys === undefined ? [] : [auditPublicKeys]),
        folder: auditFolder,
        vocabulary: contexts.vocabulary,
        everyMs: config.auditIntervalMinutes * 60_000,
        everyEvents: config.auditEvents,
        roundMs: config.auditRoundDays * 86_400_000,
        log: logOf('Audit'),
      });
    }
    this.#backups = backupSchedule(config, access.ownerUrl, logOf('Backups'));
    this.#files = new FileSchedule({
      files,
      store,
      vocabulary: contexts.vocabulary,
      pool,
      everyMs: config.filesCollectMs,
      log: logOf('Files'),
    });
    this.#schedules = [
      this.#files,
      ...contexts.all.map(
        ({ context }) =>
          new ScheduledVerification({
            ...tablesOf(context, store),
            connectionString: access.projector.url,
            log: logOf('Verification'),
            retainedSince: () => retainedSince(tables),
            share: config.verifyShare,
          }),
      ),
      new RetentionSchedule(tables, config.retentionIntervalSeconds * 1_000, logOf('Retention')),
      ...(this.#digests ? [this.#digests] : []),
      ...(this.#backups ? [this.#backups] : []),
    ];
  }

  /** The number of problems when a digest was last due; undefined if this server signs none. */
  get auditProblems(): number | undefined {
    return this.#digests?.problems;
  }

  /** How long ago this server last checked the log completely; undefined if it has not. */
  get auditLookedSecondsAgo(): number | undefined {
    const ms = this.#digests?.lookedMsAgo;
    return ms === undefined ? undefined : ms / 1_000;
  }

  /** For how long its checks have failed; undefined if this server signs no digests. */
  get auditStalledSeconds(): number | undefined {
    return this.#digests && this.#digests.stalledMs / 1_000;
  }

  /** The state of scheduled backups; undefined if there are none, or if another server makes them. */
  get backups(): BackupStanding | undefined {
    return this.config.roles.includes('projector') ? this.#backups?.standing : undefined;
  }

  /** How the files stood when they were last looked through; undefined if this server keeps none, or has not looked yet. */
  get files(): FilesStanding | undefined {
    return this.#files.standing;
  }

  /** How removing the files went that no event needs; undefined if this server does not do it. */
  get fileCollection(): CollectionStanding | undefined {
    return this.config.roles.includes('projector') ? this.#files.collection : undefined;
  }

  onApplicationBootstrap(): void {
    if (this.config.roles.includes('projector')) for (const schedule of this.#schedules) schedule.start();
  }

  /** Tells it to stop without waiting: it may wait for a log that does not answer, whose calls end soon after this. */
  onModuleDestroy(): void {
    this.#stopped = Promise.all(this.#schedules.map((schedule) => schedule.stop()));
  }

  /** Runs before the connections are closed, which all of them need to finish their work. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.#stopped;
  }
}

const logOf = (context: string) => {
  const log = new Logger(context);
  return { info: (message: string) => log.log(message), warn: (message: string) => log.warn(message) };
};
