import { Controller, Get, ServiceUnavailableException } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import {
  HealthCheck,
  HealthCheckService,
  HealthIndicatorService,
  type HealthCheckResult,
  type HealthIndicatorResult,
} from '@nestjs/terminus';
import pg from 'pg';
import { messageOf, unavailable } from '#lib/platform';
import { capabilities } from '#lib/timescale';
import { ProjectionLag } from './projection-lag.js';
import { SchemaGate } from './schema-gate.js';

/** Behind for longer than this without moving, the projections count as stuck. */
const STUCK_AFTER_SECONDS = 60;

/** A probe is answered before whoever asks gives up on it. */
const ANSWER_WITHIN_MS = 3_000;

async function soon<T>(check: Promise<T>): Promise<T> {
  const late = AbortSignal.timeout(ANSWER_WITHIN_MS);
  return Promise.race([
    check,
    new Promise<never>((_, reject) =>
      late.addEventListener('abort', () => reject(new Error(`no answer within ${ANSWER_WITHIN_MS} ms`))),
    ),
  ]);
}

@ApiTags('operations')
@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly indicators: HealthIndicatorService,
    private readonly pool: pg.Pool,
    private readonly lag: ProjectionLag,
    private readonly gate: SchemaGate,
  ) {}

  /** The process answers. Nothing else is asked: a database that is down is no reason to restart the server. */
  @Get('live')
  live() {
    return { status: 'ok' };
  }

  /** Commands and queries can be served; 503 with the reason when not. */
  @Get('ready')
  @HealthCheck()
  async ready(): Promise<HealthCheckResult> {
    try {
      return await this.health.check([
        () => this.#database(),
        () => this.#schema(),
        () => this.#projections(),
      ]);
    } catch (error) {
      if (!(error instanceof ServiceUnavailableException)) throw error;
      const { error: failed } = error.getResponse() as HealthCheckResult;
      const reasons = Object.values(failed ?? {}).map((indicator) => String(indicator?.['reason']));
      throw unavailable('server.not-ready', reasons.join(' '), { checks: failed });
    }
  }

  async #database(): Promise<HealthIndicatorResult> {
    const check = this.indicators.check('database');
    try {
      const { postgresql, timescaledb, edition } = await soon(capabilities(this.pool));
      return check.up({ postgresql, timescaledb, edition });
    } catch (error) {
      return check.down({ reason: `The database does not answer: ${messageOf(error)}` });
    }
  }

  #schema(): HealthIndicatorResult {
    const check = this.indicators.check('schema');
    return this.gate.reason === undefined ? check.up() : check.down({ reason: this.gate.reason });
  }

  async #projections(): Promise<HealthIndicatorResult> {
    const check = this.indicators.check('projections');
    try {
      const lag = await soon(this.lag.measure());
      return lag.seconds > STUCK_AFTER_SECONDS
        ? check.down({
            ...lag,
            reason: `The tables are ${lag.events} events behind, the oldest ${lag.seconds} s old.`,
          })
        : check.up({ ...lag });
    } catch (error) {
      return check.down({ reason: `The checkpoints cannot be read: ${messageOf(error)}` });
    }
  }
}
