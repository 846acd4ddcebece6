import { randomBytes } from 'node:crypto';
import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';
import { recipientsOf } from '#lib/backup';
import { DiskFileStore, Files } from '#lib/files';
import type { Config } from '#lib/platform';
import { DATABASE_ACCESS, WaylogModule, type Opened } from '#lib/waylog';
import type { DatabaseAccess } from '#lib/timescale';
import { contexts } from '../../contexts.js';
import { ProblemFilter } from './http/problem.js';
import { accessProviders } from './access/index.js';
import { Backups } from './admin/backups.js';
import { adminProviders } from './admin/index.js';
import { Jobs } from './admin/jobs.js';
import { CONFIG } from './config.js';
import { apiControllers, operationsControllers } from './controllers.js';
import { gatewayProviders } from './gateway/index.js';
import { ScheduledWork } from './operations/scheduled-work.js';
import { KeptTables } from './operations/kept-tables.js';
import { LastSpans } from './operations/last-spans.js';
import { Alerts } from './operations/alerts.js';
import { Metrics } from './operations/metrics.js';
import { Observer } from './operations/observation.js';
import { Pools } from './operations/pools.js';
import { Statistics } from './operations/statistics.js';
import { ServerSessions } from './operations/server-sessions.js';
import { SchemaGate } from './operations/schema-gate.js';

/** The HTTP server: Waylog with the routes of its contexts and its own. */
@Module({})
export class ServerModule {
  /** What is opened for it is noted in `opened`. */
  static forRoot(config: Config, opened: Opened): DynamicModule {
    const recipients = recipientsOf(config.backupRecipients);
    const statistics = new Statistics();
    const sessions = new ServerSessions(config, `waylog server ${randomBytes(4).toString('hex')}`);
    return {
      module: ServerModule,
      imports: [
        TerminusModule.forRoot({ logger: false }),
        WaylogModule.forRoot({
          databaseUrl: config.databaseUrl,
          projectorUrl: config.projectorUrl,
          eventStore: config.eventStore,
          poolSize: config.poolSize,
          poolOverflow: config.poolOverflow,
          poolTimeoutMs: config.poolTimeout * 1_000,
          poolRecycleSeconds: config.poolRecycle,
          maxPendingCommands: config.maxPendingCommands,
          decisionCacheBytes: config.decisionCacheBytes,
          contexts,
          settings: config.settings,
          files: config.filesDirectory
            ? new Files(new DiskFileStore(config.filesDirectory), config.filesMaxBytes)
            : undefined,
          projector: config.roles.includes('projector'),
          webhookNetworks: config.webhookNetworks,
          onCommand: statistics.observeCommand,
          onQuery: statistics.observeQuery,
          applicationName: sessions.name,
          opened,
          stopTimeoutMs: config.stopTimeout * 1_000,
        }),
      ],
      controllers: [...operationsControllers, ...(config.roles.includes('api') ? apiControllers : [])],
      providers: [
        Metrics,
        SchemaGate,
        ...accessProviders,
        { provide: ServerSessions, useValue: sessions },
        ...gatewayProviders,
        ...adminProviders,
        {
          provide: Backups,
          inject: [Jobs, DATABASE_ACCESS],
          useFactory: (jobs: Jobs, { ownerUrl }: DatabaseAccess) =>
            new Backups(jobs, ownerUrl, config.backupDir, recipients),
        },
        ScheduledWork,
        { provide: CONFIG, useValue: config },
        LastSpans,
        Observer,
        KeptTables,
        Pools,
        Alerts,
        { provide: Statistics, useValue: statistics },
        { provide: APP_FILTER, useClass: ProblemFilter },
      ],
    };
  }
}
