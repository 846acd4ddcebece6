import { Controller, Get, Header, Injectable } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { onResponseHookHandler } from 'fastify';
import pg from 'pg';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { Flights, type CommandObserver } from '#lib/flight';
import { Projector } from '#lib/projections';
import { ProjectionLag } from './projection-lag.js';

/** From a millisecond to the longest that a read waits. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

/** Times commands; it is made before the application, which reports to it from the start. */
export class CommandTimer {
  readonly seconds = new Histogram({
    name: 'waylog_command_seconds',
    help: 'Time of a command from the bus to its answer, by type and what became of it.',
    labelNames: ['command', 'outcome'],
    buckets: SECONDS,
    registers: [],
  });

  readonly observe: CommandObserver = (command, outcome, seconds) =>
    this.seconds.observe({ command, outcome }, seconds);
}

/** What Prometheus reads. One registry an application, so that several can live in one process. */
@Injectable()
export class Metrics {
  readonly registry = new Registry();
  readonly #requests = new Histogram({
    name: 'waylog_http_request_seconds',
    help: 'Time to answer a request, by route.',
    labelNames: ['method', 'route', 'status'],
    buckets: SECONDS,
    registers: [this.registry],
  });

  constructor(
    pool: pg.Pool,
    flights: Flights,
    projector: Projector,
    lag: ProjectionLag,
    timer: CommandTimer,
  ) {
    const registers = [this.registry];
    this.registry.registerMetric(timer.seconds);
    collectDefaultMetrics({ register: this.registry });
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    gauge('waylog_commands_pending', 'Commands that wait for an answer.', () => flights.streams.pending);
    gauge('waylog_pool_connections', 'Open connections to the database.', () => pool.totalCount);
    gauge('waylog_pool_idle', 'Open connections that nobody uses.', () => pool.idleCount);
    gauge('waylog_pool_waiting', 'Callers that wait for a connection.', () => pool.waitingCount);
    new Counter({
      name: 'waylog_projector_events_total',
      help: 'Events folded into tables by this process.',
      registers,
      collect() {
        this.reset();
        this.inc(projector.status.eventsFolded);
      },
    });
    const seconds = new Gauge({
      name: 'waylog_projection_lag_seconds',
      help: 'Age of the oldest event that is not in the tables yet; NaN when it cannot be measured.',
      registers,
    });
    new Gauge({
      name: 'waylog_projection_lag_events',
      help: 'Events in the log that are not in the tables yet; NaN when it cannot be measured.',
      registers,
      async collect() {
        const measured = await lag.measure().catch(() => undefined);
        this.set(measured?.events ?? NaN);
        seconds.set(measured?.seconds ?? NaN);
      },
    });
  }

  /** Times a request under the pattern of its route, so that ids do not become labels. */
  readonly onResponse: onResponseHookHandler = (request, reply, done) => {
    const route = request.routeOptions.url ?? 'unknown';
    this.#requests.observe(
      { method: request.method, route, status: reply.statusCode },
      reply.elapsedTime / 1_000,
    );
    done();
  };
}

@ApiExcludeController()
@Controller('metrics')
export class MetricsController {
  constructor(private readonly metrics: Metrics) {}

  @Get()
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  read(): Promise<string> {
    return this.metrics.registry.metrics();
  }
}
