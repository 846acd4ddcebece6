import { Inject, Injectable, type OnApplicationShutdown, type Provider, type Type } from '@nestjs/common';
import pg from 'pg';
import { DATABASE_ACCESS, LOG_POOL } from '#lib/waylog';
import type { Config } from '#lib/platform';
import type { DatabaseAccess } from '#lib/timescale';
import { CONFIG } from '../config.js';
import { CachedAnswers } from './cached-answers.js';
import { NamedCommands } from './commands.js';
import { GatewayController } from './gateway.controller.js';
import { NamedQueries } from './queries.js';
import { ReadOnlySql } from './read-only-sql.js';
import { OpenTransactions } from './transactions.js';

@Injectable()
class EndOfSql implements OnApplicationShutdown {
  constructor(@Inject(ReadOnlySql) private readonly sql: ReadOnlySql) {}

  onApplicationShutdown(): Promise<void> {
    return this.sql.close();
  }
}

export const gatewayControllers: Type[] = [GatewayController];

export const gatewayProviders: Provider[] = [
  NamedCommands,
  NamedQueries,
  OpenTransactions,
  CachedAnswers,
  EndOfSql,
  {
    provide: ReadOnlySql,
    inject: [CONFIG, LOG_POOL, DATABASE_ACCESS],
    useFactory: ({ readerUrl, sqlTimeout }: Config, pool: pg.Pool, { ownerUrl }: DatabaseAccess) =>
      new ReadOnlySql({ ownerUrl, readerUrl, maxTimeout: sqlTimeout, pool }),
  },
];
