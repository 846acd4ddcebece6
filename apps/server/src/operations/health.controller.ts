import { Needs, Operation, Tag } from '#lib/rest';
import { Controller, Get, Inject, ServiceUnavailableException } from '@nestjs/common';
import {
  HealthCheck,
  HealthCheckService,
  HealthIndicatorService,
  type HealthCheckResult,
  type HealthIndicatorResult,
} from '@nestjs/terminus';
import { DATABASE_ACCESS, RunningContexts } from '#lib/waylog';
import { unavailable, counted } from '#lib/platform';
import type { DatabaseAccess } from '#lib/timescale';
import { withoutAddresses } from '../http/problem.js';
import { Observer, type Observation } from './observation.js';
import { SchemaGate } from './schema-gate.js';

/** Projections that are behind for longer than this without moving count as stuck. */
const STUCK_AFTER_SECONDS = 60;

@Tag('operations')
@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly observer: Observer,
    private readonly gate: SchemaGate,
    private readonly contexts: RunningContexts,
    @Inject(DATABASE_ACCESS) private readonly access: DatabaseAccess,
  ) {}

  @Get('live')
  @Needs('everybody')
  @Operation({
    summary: 'Liveness',
    description:
      'The process answers. Nothing else is asked: a database that is down is no reason to restart the server.',
  })
  live() {
    return { status: 'ok' };
  }

  @Get('ready')
  @Needs('everybody')
  @Operation({
    summary: 'Readiness',
    description: 'Commands and queries can be served; 503 with the reason when not.',
  })
  @HealthCheck()
  async ready(): Promise<HealthCheckResult> {
    try {
      const seen = await this.observer.observe({ anew: true });
      return await this.health.check([
        () => this.#database(seen),
        () => this.#schema(),
        () => this.#projections(seen),
      ]);
    } catch (error) {
      if (!(error instanceof ServiceUnavailableException)) throw error;
      const { error: failed } = error.getResponse() as HealthCheckResult;
      const reasons = Object.values(failed ?? {}).map((indicator) => String(indicator?.['reason']));
      throw unavailable('server.not-ready', reasons.join(' '), { checks: failed });
    }
  }

  #database({ database, error }: Observation): HealthIndicatorResult {
    const check = this.indicators.check('database');
    if (!database)
      return check.down({
        reason: withoutAddresses(`The database does not answer: ${error ?? 'no reason known'}`),
      });
    if (database.readOnly !== undefined) return check.down({ reason: database.readOnly });
    const { postgresql, timescaledb, edition } = database.capabilities;
    const { app, projector } = this.access;
    const warnings = [
      ...this.access.warnings,
      ...(database.openLosses > 0
        ? [
            'The log went back, and events that were answered are gone: see `waylog log losses`, and acknowledge it.',
          ]
        : []),
    ];
    return check.up({
      postgresql,
      timescaledb,
      edition,
      role: app.role,
      projectorRole: projector.role,
      ...(warnings.length > 0 && { warnings }),
    });
  }

  #schema(): HealthIndicatorResult {
    const check = this.indicators.check('schema');
    return this.gate.reason === undefined ? check.up() : check.down({ reason: this.gate.reason });
  }

  #projections({ projections, error }: Observation): HealthIndicatorResult {
    const check = this.indicators.check('projections');
    const own = new Set(this.contexts.declared.map(({ name }) => name));
    // The one that is furthest behind. The operator who paused one knows that its tables stand still; that is no reason
    // to take the server out of service.
    const [worst] = projections
      .filter(({ projector }) => own.has(projector))
      .sort(
        (a, b) => Number(a.state === 'paused') - Number(b.state === 'paused') || b.lagSeconds - a.lagSeconds,
      );
    if (error !== undefined)
      return check.down({ reason: withoutAddresses(`The tables cannot be compared with the log: ${error}`) });
    // A database on which no projector has run yet: there is nothing to be behind of, or soon there will be.
    if (!worst) return check.up({ projector: 'stopped' });
    const lag = {
      context: worst.projector,
      position: worst.position,
      events: worst.lagEvents,
      seconds: worst.lagSeconds,
      projector: worst.state,
      ...(worst.lastError !== undefined && { lastError: withoutAddresses(worst.lastError) }),
    };
    return worst.lagSeconds > STUCK_AFTER_SECONDS && worst.state !== 'paused'
      ? check.down({
          ...lag,
          reason: `The tables of ${worst.projector} are ${counted(lag.events, 'event')} behind, the oldest ${lag.seconds} s old.`,
        })
      : check.up(lag);
  }
}
