import { Files } from '#lib/files';
import { allInDocument, Needs } from '#lib/rest';
import { Controller, Get, Header, Injectable } from '@nestjs/common';
import type { FastifyRequest, onResponseHookHandler } from 'fastify';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { parkedIn } from '#lib/projections';
import type { ReactorStatus } from '#lib/reactors';
import { RunningContexts } from '#lib/waylog';
import { strayRejections } from '../stray-rejections.js';
import { Alerts } from './alerts.js';
import { Observer, type Observation } from './observation.js';
import { Pools, type ConnectionPool } from './pools.js';
import { SECONDS, Statistics } from './statistics.js';

/** The metrics for Prometheus. One registry per application, so that several can run in one process. */
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
    pools: Pools,
    contexts: RunningContexts,
    private readonly statistics: Statistics,
    observer: Observer,
    alerts: Alerts,
    files: Files,
  ) {
    const registers = [this.registry];
    this.registry.registerMetric(statistics.commandSeconds);
    this.registry.registerMetric(statistics.querySeconds);
    this.registry.registerMetric(statistics.cacheReads);
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
    const { room } = contexts;
    gauge('waylog_commands_pending', 'Commands that wait for an answer.', () => room.pending);
    gauge(
      'waylog_decision_cache_bytes',
      'Memory of what decisions know of streams, between commands.',
      () => room.cache.bytes,
    );
    new Counter({
      name: 'waylog_decision_states_loaded_total',
      help: 'Streams whose state was read from the log for a command; again: put out of the cache a minute before at most.',
      labelNames: ['again'],
      registers,
      collect() {
        const { loaded, loadedAgain } = room.cache;
        this.reset();
        this.inc({ again: 'no' }, loaded - loadedAgain);
        this.inc({ again: 'yes' }, loadedAgain);
      },
    });
    const ofPools = (name: string, help: string, read: (pool: ConnectionPool) => number) =>
      new Gauge({
        name,
        help,
        labelNames: ['pool'],
        registers,
        collect() {
          for (const pool of pools.status().pools) this.set({ pool: pool.name }, read(pool));
        },
      });
    ofPools(
      'waylog_pool_connections',
      'Open connections to the database, for the log, for queries of tables and for keeping tables.',
      ({ checkedIn, checkedOut }) => checkedIn + checkedOut,
    );
    ofPools(
      'waylog_pool_max',
      'The most connections that this process may open.',
      ({ size, maxOverflow }) => size + maxOverflow,
    );
    ofPools('waylog_pool_idle', 'Open connections that nobody uses.', ({ checkedIn }) => checkedIn);
    ofPools('waylog_pool_waiting', 'Callers that wait for a connection.', ({ waiting }) => waiting);
    new Counter({
      name: 'waylog_projector_events_total',
      help: 'Events folded into tables by this process.',
      registers,
      collect() {
        this.reset();
        this.inc(contexts.all.reduce((total, { projector }) => total + projector.status.eventsFolded, 0));
      },
    });
    gauge(
      'waylog_files_damaged',
      'Files that this process found damaged when they were read.',
      () => files.damaged,
    );
    new Counter({
      name: 'waylog_stray_rejections_total',
      help: 'Failures in this process that nobody waited for; its log has them.',
      registers,
      collect() {
        this.reset();
        this.inc(strayRejections());
      },
    });
    this.#observed(observer, new Set(contexts.declared.map(({ name }) => name)));
    new Gauge({
      name: 'waylog_alert_firing',
      help: '1 while an alert of the server fires.',
      labelNames: ['alert', 'severity'],
      registers,
      async collect() {
        for (const { name, severity, state } of await alerts.list())
          this.set({ alert: name, severity }, state === 'firing' ? 1 : 0);
      },
    });
    new Counter({
      name: 'waylog_alert_webhook_failures_total',
      help: 'Messages that the alert webhook did not take.',
      registers,
      collect() {
        this.reset();
        this.inc(alerts.failedMessages);
      },
    });
  }

  /** Gauges of the database and the projections; NaN if unknown. */
  #observed(observer: Observer, projectors: ReadonlySet<string>): void {
    const gauge = (name: string, help: string, read: (observation: Observation) => number | undefined) =>
      new Gauge({
        name,
        help,
        registers: [this.registry],
        async collect() {
          this.set(read(await observer.observe()) ?? NaN);
        },
      });
    const worst =
      (of: 'lagEvents' | 'lagSeconds') =>
      ({ projections }: Observation) =>
        projections.length === 0 ? undefined : Math.max(...projections.map((projection) => projection[of]));
    gauge('waylog_database_up', '1 when the database answers.', ({ database }) => (database ? 1 : 0));
    gauge(
      'waylog_database_read_only',
      '1 when the database takes no writes; NaN while it does not answer.',
      ({ database }) => database && (database.readOnly === undefined ? 0 : 1),
    );
    gauge(
      'waylog_log_up',
      '1 when the log answers and is the one of the tables; NaN while the database does not answer.',
      ({ database, error }) => database && (error === undefined ? 1 : 0),
    );
    gauge('waylog_database_bytes', 'Size of the database.', ({ database }) => database?.databaseBytes);
    gauge(
      'waylog_database_connections',
      'Sessions of the database, of all processes.',
      ({ database }) => database?.totalConnections,
    );
    gauge(
      'waylog_database_connections_active',
      'Sessions of the database that are at work.',
      ({ database }) => database?.activeConnections,
    );
    gauge(
      'waylog_database_connections_max',
      'max_connections of the database server.',
      ({ database }) => database?.maxConnections,
    );
    gauge(
      'waylog_disk_used_ratio',
      'Used share of the disk under the data, or of WAYLOG_DATABASE_LIMIT_GB; NaN where it cannot be seen.',
      ({ database }) => database?.diskUsedShare,
    );
    gauge(
      'waylog_replication_lag_seconds',
      'How far the slowest replica is behind; 0 without any.',
      ({ database }) => database && Math.max(0, ...database.replicas.map((r) => r.lagSeconds ?? 0)),
    );
    gauge(
      'waylog_audit_problems',
      'Things in the log, its digests or its keys that were not as recorded when a digest was last due; NaN where this server signs none.',
      ({ auditProblems }) => auditProblems,
    );
    gauge(
      'waylog_audit_looked_seconds',
      'How long ago this server has last looked through the log for a digest; NaN where it has not.',
      ({ auditLookedSecondsAgo }) => auditLookedSecondsAgo,
    );
    gauge(
      'waylog_audit_stalled_seconds',
      'For how long looking through the log has failed, or has come no further; NaN where this server signs no digests.',
      ({ auditStalledSeconds }) => auditStalledSeconds,
    );
    gauge(
      'waylog_backup_failed',
      '1 when the last scheduled backup failed, or the newest complete one is too old; NaN where this server makes none.',
      ({ backups }) => backups && (backups.problem === undefined ? 0 : 1),
    );
    gauge(
      'waylog_backup_age_seconds',
      'Age of the newest complete scheduled backup; NaN where this server makes none, or there is none.',
      ({ at, backups }) =>
        backups?.newestAt === undefined ? undefined : (at - Date.parse(backups.newestAt)) / 1_000,
    );
    gauge(
      'waylog_files',
      'Files when this server last looked through them; NaN where it has not.',
      ({ files }) => files?.files,
    );
    gauge('waylog_files_bytes', 'Their size; NaN where it has not.', ({ files }) => files?.bytes);
    gauge(
      'waylog_files_missing',
      'Files that events need and that were not there; NaN where it has not looked.',
      ({ files }) => files?.missing,
    );
    gauge(
      'waylog_files_collection_failed',
      '1 when files that no event needs could not be removed, or were not, for fear of removing others; NaN where this server does not do it.',
      ({ fileCollection }) => fileCollection && (fileCollection.problem === undefined ? 0 : 1),
    );
    gauge(
      'waylog_integrity_findings_open',
      'Streams of which a table is not what the log says.',
      ({ database }) => database?.openFindings,
    );
    gauge(
      'waylog_losses_open',
      'Times that the log went back and lost events that were answered, which nobody has acknowledged.',
      ({ database }) => database?.openLosses,
    );
    gauge(
      'waylog_locks_share',
      'Locks that rebuilding the table with the most TimescaleDB chunks takes, as a share of all that the database has.',
      ({ database }) => database?.lockShare,
    );
    gauge(
      'waylog_sql_oldest_seconds',
      'For how long the oldest statement of ad-hoc SQL has run, of all servers; 0 where none does.',
      ({ database }) => database && (database.readerSessions[0]?.seconds ?? 0),
    );
    gauge(
      'waylog_jobs_failing',
      'Jobs of TimescaleDB, such as its policies, that fail or do not run.',
      ({ database }) => database?.jobTroubles.length,
    );
    const ofReactors = (name: string, help: string, read: (reactor: ReactorStatus) => number) =>
      new Gauge({
        name,
        help,
        labelNames: ['reactor'],
        registers: [this.registry],
        async collect() {
          this.reset();
          for (const reactor of (await observer.observe()).reactors)
            this.set({ reactor: reactor.name }, read(reactor));
        },
      });
    ofReactors(
      'waylog_reactor_lag_events',
      'Events that a reactor has not looked at yet, or commands of a deadline that are due and were not sent.',
      ({ lagEvents }) => lagEvents,
    );
    ofReactors(
      'waylog_reactor_lag_seconds',
      'Age of the oldest of them: for a deadline how late it is.',
      ({ lagSeconds }) => lagSeconds,
    );
    ofReactors(
      'waylog_reactor_waiting',
      'What a reactor failed on and tries again.',
      ({ waiting }) => waiting,
    );
    ofReactors(
      'waylog_reactor_parked',
      'What a reactor failed on and does not try again until somebody decides.',
      ({ parked }) => parked,
    );
    ofReactors('waylog_reactor_paused', '1 while an operator has it paused.', ({ state }) =>
      state === 'paused' ? 1 : 0,
    );
    gauge(
      'waylog_projection_lag_events',
      'Events in the log that are not in the tables yet; NaN when it cannot be measured.',
      worst('lagEvents'),
    );
    gauge(
      'waylog_projection_lag_seconds',
      'Age of the oldest event that is not in the tables yet; NaN when it cannot be measured.',
      worst('lagSeconds'),
    );
    gauge(
      'waylog_projection_stuck_seconds',
      'For how long events have waited and none was folded; 0 while an operator has the projector paused.',
      ({ projections }) =>
        projections.length === 0
          ? undefined
          : Math.max(...projections.map((p) => (p.state === 'paused' ? 0 : p.stuckSeconds))),
    );
    gauge(
      'waylog_projection_parked_streams',
      'Streams whose next event cannot be projected.',
      ({ projections }) => (projections.length === 0 ? undefined : parkedIn(projections)),
    );
    gauge('waylog_projection_paused', '1 while an operator has a projector paused.', ({ projections }) =>
      projections.length === 0 ? undefined : projections.some((p) => p.state === 'paused') ? 1 : 0,
    );
    gauge(
      'waylog_projection_events_per_second',
      'Events folded a second, by the processes that lead the projectors.',
      ({ projections }) => {
        const rates = new Map(projections.map((one) => [one.projector, one.eventsPerSecond]));
        // Followers fold the tables, not the log.
        return projections.length === 0
          ? undefined
          : [...projectors].reduce((sum, projector) => sum + (rates.get(projector) ?? 0), 0);
      },
    );
  }

  /** Times a request under the pattern of its route, so that ids do not become labels. */
  readonly onResponse: onResponseHookHandler = (request, reply, done) => {
    // A caller that could not be checked was not let in. Anyone can cause that answer, and the service has not failed.
    const isTurnedAway = reply.statusCode === 503 && request.actor === undefined;
    const route = (isTurnedAway && !isProbe(request) ? TURNED_AWAY : request.routeOptions.url) ?? 'unknown';
    this.#requests.observe(
      { method: request.method, route, status: reply.statusCode },
      reply.elapsedTime / 1_000,
    );
    // "Not ready" is a proper answer to a probe.
    if (!isProbe(request) && !isTurnedAway) {
      this.statistics.observeRequest(reply.elapsedTime / 1_000, reply.statusCode);
    }
    done();
  };
}

const isProbe = ({ routeOptions }: FastifyRequest): boolean =>
  routeOptions.url?.startsWith('/health') === true;

/** In place of a route. */
const TURNED_AWAY = 'turned away';

@allInDocument(({ ApiExcludeController }) => ApiExcludeController())
@Controller('metrics')
export class MetricsController {
  constructor(private readonly metrics: Metrics) {}

  @Get()
  @Needs('reader')
  @Header('content-type', 'text/plain; version=0.0.4; charset=utf-8')
  read(): Promise<string> {
    return this.metrics.registry.metrics();
  }
}
