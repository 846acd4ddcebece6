import {
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  type OnModuleDestroy,
} from '@nestjs/common';
import pg from 'pg';
import { DigestSchedule, signingKey } from '#lib/audit';
import type { EventStore } from '#lib/event-store';
import { DATABASE_ACCESS, EVENT_STORE, flightProjector, TABLES_POOL } from '#lib/flight';
import type { Config } from '#lib/platform';
import { ScheduledVerification } from '#lib/projections';
import { retainedSince, RetentionSchedule, type DatabaseAccess } from '#lib/timescale';
import { CONFIG } from '../config.js';

/** What a server with the role projector does beside its work, again and again: verify, apply the retention, sign digests. */
@Injectable()
export class ScheduledWork implements OnApplicationBootstrap, OnModuleDestroy {
  readonly #digests: DigestSchedule | undefined;
  readonly #schedules: readonly { start(): void; stop(): Promise<void> }[];

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(EVENT_STORE) store: EventStore,
    @Inject(TABLES_POOL) tables: pg.Pool,
    pool: pg.Pool,
    @Inject(DATABASE_ACCESS) access: DatabaseAccess,
  ) {
    const { auditKey, auditFolder, eventStore } = config;
    if (auditKey !== undefined && eventStore !== undefined)
      logOf('Audit').warn('WAYLOG_AUDIT_KEY signs nothing: the log is in EventStoreDB, and not chained.');
    else if (auditKey !== undefined)
      this.#digests = new DigestSchedule({
        pool,
        key: signingKey(auditKey),
        folder: auditFolder,
        log: logOf('Audit'),
      });
    this.#schedules = [
      new ScheduledVerification({
        ...flightProjector,
        store,
        connectionString: access.projector.url,
        log: logOf('Verification'),
        retainedSince: () => retainedSince(tables),
        share: config.verifyShare,
      }),
      new RetentionSchedule(tables, config.retentionIntervalSeconds * 1_000, logOf('Retention')),
      ...(this.#digests ? [this.#digests] : []),
    ];
  }

  /** Streams whose chain did not hold when the last digest was due; undefined where this server signs none. */
  get brokenStreams(): number | undefined {
    return this.#digests?.brokenStreams;
  }

  onApplicationBootstrap(): void {
    if (this.config.roles.includes('projector')) for (const schedule of this.#schedules) schedule.start();
  }

  /** Before the connections are closed, which both need to finish what they are at. */
  async onModuleDestroy(): Promise<void> {
    await Promise.all(this.#schedules.map((schedule) => schedule.stop()));
  }
}

const logOf = (context: string) => {
  const log = new Logger(context);
  return { info: (message: string) => log.log(message), warn: (message: string) => log.warn(message) };
};
