import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { TerminusModule } from '@nestjs/terminus';
import type { Config } from '#lib/platform';
import { WaylogModule } from '#lib/flight';
import { ChunksController } from './http/chunks.controller.js';
import { EventsController } from './http/events.controller.js';
import { FlightsController } from './http/flights.controller.js';
import { FramesController } from './http/frames.controller.js';
import { ProblemFilter } from './http/problem.js';
import { RouteController } from './http/route.controller.js';
import { adminControllers, adminProviders } from './admin/index.js';
import { CONFIG } from './config.js';
import { gatewayControllers, gatewayProviders } from './gateway/index.js';
import { ScheduledWork } from './operations/scheduled-work.js';
import { HealthController } from './operations/health.controller.js';
import { CommandTimer, Metrics, MetricsController } from './operations/metrics.js';
import { ProjectionLag } from './operations/projection-lag.js';
import { Statistics } from './operations/statistics.js';

/** The HTTP server: Waylog with controllers before it. Another context would be one more line in `imports`. */
@Module({})
export class ServerModule {
  static forRoot(config: Config): DynamicModule {
    const timer = new CommandTimer();
    const operations = [HealthController, MetricsController];
    const api = [FlightsController, RouteController, FramesController, ChunksController, EventsController];
    return {
      module: ServerModule,
      imports: [
        TerminusModule.forRoot({ logger: false }),
        WaylogModule.forRoot({
          databaseUrl: config.databaseUrl,
          poolSize: config.poolSize,
          maxPendingCommands: config.maxPendingCommands,
          projector: config.roles.includes('projector'),
          onCommand: timer.observe,
          applicationName: 'waylog server',
        }),
      ],
      controllers: config.roles.includes('api')
        ? [...api, ...gatewayControllers, ...adminControllers, ...operations]
        : operations,
      providers: [
        ProjectionLag,
        Metrics,
        ...gatewayProviders,
        ...adminProviders,
        ScheduledWork,
        { provide: CONFIG, useValue: config },
        { provide: CommandTimer, useValue: timer },
        { provide: Statistics, useValue: new Statistics() },
        { provide: APP_FILTER, useClass: ProblemFilter },
      ],
    };
  }
}
