import { Controller, Get, Inject, Put } from '@nestjs/common';
import { IsArray, IsBoolean, IsIn, IsInt, IsNumber, IsString, Max, Min } from 'class-validator';
import pg from 'pg';
import { IsTimestamp, Nested, Optional, type Config, type Timestamp } from '#lib/platform';
import { DATABASE_ACCESS, TABLES_POOL } from '#lib/waylog';
import { JobTrouble, withoutPassword, type DatabaseAccess } from '#lib/timescale';
import { CONFIG } from '../config.js';
import { Actor, Answers, Needs, Operation, Tag, ValidBody } from '#lib/rest';
import type { Severity } from '../operations/alert-rules.js';
import { Alert, Alerts, Monitoring, MonitoringChange } from '../operations/alerts.js';
import { Observer, Replica } from '../operations/observation.js';
import { ConnectionPoolStatus, Pools } from '../operations/pools.js';
import { slowStatements } from '../operations/slow-statements.js';
import { PerformanceStats, Statistics } from '../operations/statistics.js';

const HEALTH = ['healthy', 'degraded', 'unhealthy'] as const;
const DETAILED = ['excellent', 'good', 'fair', 'poor'] as const;

/** How much a firing alert takes from a score of 100. */
const COSTS = { critical: 40, warning: 10 } as const satisfies Record<Severity, number>;

/** The score from 100 (all is well) to 0, and its label. */
export function scoreOf(firing: readonly { readonly severity: Severity }[]): {
  readonly healthScore: number;
  readonly detailedStatus: (typeof DETAILED)[number];
} {
  const healthScore = Math.max(
    0,
    firing.reduce((score, { severity }) => score - COSTS[severity], 100),
  );
  const word =
    healthScore === 100 ? 'excellent' : healthScore >= 80 ? 'good' : healthScore >= 50 ? 'fair' : 'poor';
  return { healthScore, detailedStatus: word };
}

/** The state of the system. For probes there are /health/live and /health/ready; this is for people and dashboards. */
export class HealthResponse {
  /** `unhealthy`: a critical alert fires; `degraded`: a warning does. */
  @IsIn(HEALTH) readonly status!: (typeof HEALTH)[number];
  /** 100 if no alert fires; each critical one takes 40, each warning 10. */
  @IsInt() @Min(0) @Max(100) readonly healthScore!: number;
  /** The label of the score: excellent is 100, good 80 and more, fair 50 and more. */
  @IsIn(DETAILED) readonly detailedStatus!: (typeof DETAILED)[number];
  @IsBoolean() readonly databaseConnected!: boolean;
  @IsBoolean() readonly timescaledbAvailable!: boolean;
  /** `apache` or `timescale`: the documentation says what each can do. */
  @Optional() @IsString() readonly edition?: string;
  @Optional() @IsString() readonly postgresql?: string;
  @Optional() @IsString() readonly timescaledb?: string;
  @Nested(() => ConnectionPoolStatus) readonly connectionPoolStatus!: ConnectionPoolStatus;
  /** Active sessions of this database, of all processes. */
  @IsInt() @Min(0) readonly activeConnections!: number;
  @IsInt() @Min(0) readonly databaseBytes!: number;
  @Nested(() => Replica, { each: true }) readonly replication!: readonly Replica[];
  /** Events that are not in the tables yet, and the age of the oldest in seconds. */
  @IsInt() @Min(0) readonly projectionLagEvents!: number;
  @IsNumber() @Min(0) readonly projectionLagSeconds!: number;
  /** Seconds for which events waited and none was folded. */
  @IsNumber() @Min(0) readonly stuckSeconds!: number;
  /** Jobs of TimescaleDB, such as its policies, that fail or do not run. */
  @Nested(() => JobTrouble, { each: true }) readonly failingJobs!: readonly JobTrouble[];
  /** When the newest complete scheduled backup was made, if this server makes them. */
  @Optional() @IsTimestamp() readonly lastBackupAt?: Timestamp;
  /** Why the scheduled backup that should exist does not. */
  @Optional() @IsString() readonly backupProblem?: string;
  /** Names of the alerts that fire. */
  @IsArray() @IsString({ each: true }) readonly firing!: readonly string[];
  /** Whether this process checks its alert rules by schedule. */
  @Nested(() => Monitoring) readonly monitoring!: Monitoring;
  /** Why the database cannot be queried. */
  @Optional() @IsString() readonly errorMessage?: string;
  @IsTimestamp() readonly timestamp!: Timestamp;
}

/** How this process is connected to its database. */
export class DatabaseConnection {
  @IsString() readonly serviceName!: string;
  /** Without its password. */
  @IsString() readonly databaseUrl!: string;
  /** The role with which it appends and reads. */
  @IsString() readonly role!: string;
  /** The role with which it keeps the tables. */
  @IsString() readonly projectorRole!: string;
  /** Whether it could migrate and make backups, because it knows the owner of the database. */
  @IsBoolean() readonly knowsOwner!: boolean;
  /** What is less safe about these connections than it could be. */
  @IsArray() @IsString({ each: true }) readonly warnings!: readonly string[];
  /** The most connections in pools, for commands, queries and tables together. */
  @IsInt() readonly poolSize!: number;
  /** More connections for queries when all of `poolSize` are in use. */
  @IsInt() readonly maxOverflow!: number;
  /** Seconds that a caller waits for a connection. */
  @IsInt() readonly poolTimeout!: number;
  /** Seconds after which a connection is replaced by a new one. */
  @IsInt() readonly poolRecycle!: number;
}

/** Health, performance and alerts, as this process sees them. */
@Tag('admin')
@Controller('v1/admin')
export class StatusController {
  constructor(
    private readonly observer: Observer,
    private readonly pools: Pools,
    private readonly statistics: Statistics,
    private readonly alerts: Alerts,
    @Inject(TABLES_POOL) private readonly tables: pg.Pool,
    @Inject(DATABASE_ACCESS) private readonly access: DatabaseAccess,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  @Get('health')
  @Needs('operator')
  @Operation({ summary: 'Read the health of the server' })
  @Answers(200, HealthResponse)
  async health(): Promise<HealthResponse> {
    const { at, pool, database, projections, backups, error } = await this.observer.observe({ anew: true });
    await this.alerts.evaluate();
    const firing = (await this.alerts.list()).filter(({ state }) => state === 'firing');
    const worst = (of: 'lagEvents' | 'lagSeconds' | 'stuckSeconds') =>
      Math.max(0, ...projections.map((projection) => projection[of]));
    return {
      status: firing.some(({ severity }) => severity === 'critical')
        ? 'unhealthy'
        : firing.length > 0
          ? 'degraded'
          : 'healthy',
      ...scoreOf(firing),
      databaseConnected: database !== undefined,
      timescaledbAvailable: database !== undefined,
      ...(database && {
        edition: database.capabilities.edition,
        postgresql: database.capabilities.postgresql,
        timescaledb: database.capabilities.timescaledb,
      }),
      connectionPoolStatus: pool,
      activeConnections: database?.activeConnections ?? 0,
      databaseBytes: database?.databaseBytes ?? 0,
      replication: database?.replicas ?? [],
      projectionLagEvents: worst('lagEvents'),
      projectionLagSeconds: worst('lagSeconds'),
      stuckSeconds: worst('stuckSeconds'),
      failingJobs: database?.jobTroubles ?? [],
      ...(backups?.newestAt !== undefined && { lastBackupAt: backups.newestAt }),
      ...(backups?.problem !== undefined && { backupProblem: backups.problem }),
      firing: firing.map(({ name }) => name),
      monitoring: this.alerts.monitoring,
      ...(error !== undefined && { errorMessage: error }),
      timestamp: new Date(at).toISOString(),
    };
  }

  @Get('connection')
  @Needs('operator')
  @Operation({ summary: 'Test the connection to the database' })
  @Answers(200, DatabaseConnection)
  connection(): DatabaseConnection {
    const { poolSize, poolOverflow, poolTimeout, poolRecycle, warnings } = this.config;
    const { app, projector, ownerUrl, warnings: ofRoles } = this.access;
    return {
      serviceName: 'waylog',
      databaseUrl: withoutPassword(app.url),
      role: app.role,
      projectorRole: projector.role,
      knowsOwner: ownerUrl !== undefined,
      warnings: [...warnings, ...ofRoles],
      poolSize,
      maxOverflow: poolOverflow,
      poolTimeout,
      poolRecycle,
    };
  }

  @Get('connections')
  @Needs('operator')
  @Operation({ summary: 'List connections and pools' })
  @Answers(200, ConnectionPoolStatus)
  connections(): ConnectionPoolStatus {
    return this.pools.status();
  }

  @Get('performance')
  @Needs('operator')
  @Operation({ summary: 'Read performance figures' })
  @Answers(200, PerformanceStats)
  async performance(): Promise<PerformanceStats> {
    const [{ statements, unavailable }, { database }] = await Promise.all([
      slowStatements(this.tables),
      this.observer.observe(),
    ]);
    const { commands, queries, cache } = this.statistics;
    const mean = ({ count, seconds }: { count: number; seconds: number }) =>
      count === 0 ? 0 : seconds / count;
    return {
      totalQueries: queries.count,
      totalCommands: commands.count,
      avgQueryTime: mean(queries),
      avgCommandTime: mean(commands),
      cacheHitRate: mean({ count: cache.hits + cache.misses, seconds: cache.hits }),
      activeConnections: database?.activeConnections ?? 0,
      totalConnections: database?.totalConnections ?? 0,
      timestamp: new Date().toISOString(),
      slowestQueries: this.statistics.slowestQueries(),
      slowestStatements: statements,
      ...(unavailable !== undefined && { slowestStatementsUnavailable: unavailable }),
    };
  }

  @Get('alerts')
  @Needs('operator')
  @Operation({
    summary: 'List alerts',
    description: 'All alert rules and their states; firing ones first.',
  })
  @Answers(200, [Alert])
  listAlerts() {
    return this.alerts.list();
  }

  @Get('monitoring')
  @Needs('operator')
  @Operation({ summary: 'Read whether alert rules are looked at' })
  @Answers(200, Monitoring)
  monitoring(): Monitoring {
    return this.alerts.monitoring;
  }

  @Put('monitoring')
  @Needs('admin')
  @Operation({
    summary: 'Start, stop or pace the looks at alert rules',
    description: 'Of the process that answers, until it ends. The rules of Prometheus do not depend on it.',
  })
  @Answers(200, Monitoring)
  changeMonitoring(
    @ValidBody(MonitoringChange) change: MonitoringChange,
    @Actor() actor: string,
  ): Monitoring {
    return this.alerts.change(change, actor);
  }
}
