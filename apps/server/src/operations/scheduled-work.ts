import {
  Inject,
  Injectable,
  Logger,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import pg from 'pg';
import type { EventStore } from '#lib/event-store';
import { EVENT_STORE, flightProjector } from '#lib/flight';
import type { Config } from '#lib/platform';
import { ScheduledVerification } from '#lib/projections';
import { retainedSince } from '#lib/timescale';
import { CONFIG } from '../config.js';

/** What a server with the role projector does beside its work, again and again. */
@Injectable()
export class ScheduledWork implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #verification: ScheduledVerification;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(EVENT_STORE) store: EventStore,
    pool: pg.Pool,
  ) {
    const log = new Logger('Verification');
    this.#verification = new ScheduledVerification({
      ...flightProjector,
      store,
      connectionString: config.databaseUrl,
      log: { info: (message) => log.log(message), warn: (message) => log.warn(message) },
      retainedSince: () => retainedSince(pool),
      share: config.verifyShare,
    });
  }

  onApplicationBootstrap(): void {
    if (this.config.roles.includes('projector')) this.#verification.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#verification.stop();
  }
}
