import { parkedIn } from '#lib/projections';
import { endReaderSessions, READER_MAX_SECONDS } from '#lib/timescale';
import type { Observation } from './observation.js';
import type { Statistics } from './statistics.js';

export type Severity = 'critical' | 'warning';

export interface AlertRule {
  readonly name: string;
  readonly severity: Severity;
  /** The alert fires above this value, in the unit of `value`. */
  readonly threshold: number;
  /** What is measured, in words and with its unit. */
  readonly what: string;
  /** What an operator does about it. */
  readonly remedy: string | ((statistics: Statistics, observation: Observation) => string);
  /** The present value; undefined if unknown. The alert fires when it is above the threshold. */
  readonly value: (observation: Observation, statistics: Statistics) => number | undefined;
}

/** Fewer requests than this in a minute give no meaningful rate. */
const MIN_REQUESTS = 20;

/** The same for the time that a query takes. */
const MIN_QUERIES = 20;

/** The thresholds of the reference (unified database architecture, alert conditions), and Waylog's own. */
export const alertRules: readonly AlertRule[] = [
  {
    name: 'DatabaseDown',
    severity: 'critical',
    threshold: 0,
    what: '1 when the database does not answer',
    remedy:
      'See that PostgreSQL runs and takes connections: `waylog db status`, `waylog doctor`. Commands are answered 503 meanwhile; nothing that was answered is lost.',
    value: ({ database }) => (database ? 0 : 1),
  },
  {
    name: 'DatabaseReadOnly',
    severity: 'critical',
    threshold: 0,
    what: '1 when the database answers, and takes no writes',
    remedy:
      '`waylog doctor` and /health/ready say why: it is a standby, or somebody has made it read-only. Commands are answered 503 meanwhile; nothing that was answered is lost.',
    value: ({ database }) => database && (database.readOnly === undefined ? 0 : 1),
  },
  {
    name: 'LogDown',
    severity: 'critical',
    // A cluster of EventStoreDB has a new leader within six seconds, and commands wait for ten.
    threshold: 15,
    what: 'seconds for which the log has not answered, or was not the one of the tables, although the database answers',
    remedy:
      '`waylog doctor` says what it sees of the log. With EVENT_STORE: see that EventStoreDB runs and has a leader. Commands wait up to ten seconds and are then answered 503; nothing that was answered is lost.',
    value: ({ database, logDownSeconds }) => (database ? logDownSeconds : 0),
  },
  {
    name: 'ErrorRate',
    severity: 'critical',
    threshold: 0.1,
    what: 'share of requests of the last minute, without those of probes, that the server could not answer (5xx)',
    remedy: 'The log of the server says why. Look at DatabaseDown, PoolUsage and ProjectionStuck first.',
    value: (_, { lastRequests }) => {
      const { count, failedShare } = lastRequests.get();
      return count < MIN_REQUESTS ? 0 : failedShare;
    },
  },
  {
    name: 'IntegrityViolation',
    severity: 'critical',
    threshold: 0,
    what: 'streams of which a table is not what the log says, or of which the log no longer says what is right',
    remedy:
      '`waylog integrity --open` names them. Where it counts rows, `waylog verify --repair` rewrites exactly those; where it says that the log ' +
      'has lost events or cannot open them, no repair can help: docs/how-to/at-three-in-the-morning.md#integrityviolation.',
    value: ({ database }) => database?.openFindings,
  },
  {
    name: 'AnswersLost',
    severity: 'critical',
    threshold: 0,
    what: 'times that the log went back, as to a replica that was behind or to a backup, and nobody has acknowledged it',
    remedy:
      '`waylog log losses` says from where to where, and which streams. Clients that repeat what they were answered, with its command ids, bring it back. Then `waylog log acknowledge ID --why TEXT`; see docs/how-to/log-that-went-back.md.',
    value: ({ database }) => database?.openLosses,
  },
  {
    name: 'AuditBroken',
    severity: 'critical',
    threshold: 0,
    what: 'things in the log, its digests or its keys that are not as they were recorded, as the last look for a digest found',
    remedy:
      '`waylog verify --audit` names them. Somebody, or the disk, has changed something: see docs/how-to/audit.md. No digest is signed until it is mended, or recorded as known.',
    value: ({ auditProblems }) => auditProblems,
  },
  {
    name: 'AuditStalled',
    severity: 'critical',
    threshold: 1_200,
    what: 'seconds for which looking through the log for a digest has failed, or has come no further',
    remedy:
      'The log of the server says why, since the first time: "The digest that is due was not taken". Until it goes on, nobody sees whether the log is changed: run `waylog verify --audit`, and find who has changed the table, the rights or the lock that it fails at, see docs/how-to/audit.md.',
    value: ({ auditStalledSeconds }) => auditStalledSeconds,
  },
  {
    name: 'ProjectionStuck',
    severity: 'critical',
    threshold: 60,
    what: 'seconds for which events waited and none was folded',
    remedy:
      '`waylog projections` shows the state and the last error. Stopped: start a server with the role projector. Failed: the error says why.',
    value: ({ projections }) =>
      projections.length === 0
        ? undefined
        : Math.max(0, ...projections.map((p) => (p.state === 'paused' ? 0 : p.stuckSeconds))),
  },
  {
    name: 'ProjectionPaused',
    severity: 'warning',
    threshold: 900,
    what: 'seconds for which an operator has had the projector paused',
    remedy: '`waylog projections` says who paused it and why; `waylog projections resume`.',
    value: ({ projections, at }) =>
      Math.max(0, ...projections.map((p) => (p.pausedSince ? (at - Date.parse(p.pausedSince)) / 1_000 : 0))),
  },
  {
    name: 'StreamsParked',
    severity: 'warning',
    threshold: 0,
    what: 'streams whose next event cannot be projected',
    remedy: '`waylog parked list` says which and why; after a fix `waylog parked retry`.',
    value: ({ projections }) => (projections.length === 0 ? undefined : parkedIn(projections)),
  },
  {
    name: 'ReactorStuck',
    severity: 'critical',
    threshold: 60,
    what: 'seconds that the oldest event waits for a reactor, or that a deadline is late, where nobody has paused it',
    remedy:
      '`waylog reactors` shows the state and the last error. Stopped: start a server with the role projector. Failed: the error says why, such as that something outside does not answer.',
    value: ({ reactors }) =>
      Math.max(0, ...reactors.map(({ state, lagSeconds }) => (state === 'paused' ? 0 : lagSeconds))),
  },
  {
    name: 'ReactionsParked',
    severity: 'warning',
    threshold: 0,
    what: 'streams, or commands of deadlines, that a reactor has failed on and does not try again by itself',
    remedy:
      '`waylog reactors waiting` says which and why; after a fix `waylog reactors retry NAME`, or `waylog reactors discard NAME OF --reason TEXT`.',
    value: ({ reactors }) => reactors.reduce((sum, { parked }) => sum + parked, 0),
  },
  {
    name: 'SlowQueries',
    severity: 'warning',
    threshold: 1,
    what: 'mean seconds of a query over the last minute, without waiting for a minimum position',
    remedy: (statistics) => {
      const [worst] = statistics.slowestQueries();
      const which = worst
        ? `Most of the time went to ${worst.query}: ${worst.calls} in the last minute, ${worst.meanTime.toFixed(2)} s on average, ${worst.maxTime.toFixed(2)} s at most. `
        : '';
      return `${which}\`slowestQueries\` of \`GET /v1/admin/performance\` has the others; pg_stat_activity shows what the database is at, and what waits for a lock.`;
    },
    value: (_, { lastQueries }) => {
      const { count, mean } = lastQueries.get();
      return count < MIN_QUERIES ? 0 : mean;
    },
  },
  {
    name: 'PoolUsage',
    severity: 'warning',
    threshold: 0.8,
    what: 'share of the connections that are in use, of the pool that is used most',
    remedy: 'Raise DATABASE_POOL_SIZE (and max_connections), or find what holds them: pg_stat_activity.',
    value: ({ pool: { pools } }) =>
      Math.max(...pools.map(({ checkedOut, size, maxOverflow }) => checkedOut / (size + maxOverflow))),
  },
  {
    name: 'DiskUsage',
    severity: 'warning',
    threshold: 0.85,
    what: 'share of the disk under the data, or of WAYLOG_DATABASE_LIMIT_GB, that is used',
    remedy:
      'Make room, or archive old TimescaleDB chunks: `waylog archive run --help`. A full disk stops commands; nothing that was answered is lost.',
    value: ({ database }) => database?.diskUsedShare,
  },
  {
    name: 'LocksShort',
    severity: 'warning',
    threshold: 0.5,
    what: 'locks that rebuilding the table with the most TimescaleDB chunks takes, as a share of all that the database has',
    remedy:
      '`waylog doctor` says how many chunks there are, and what to set max_locks_per_transaction to; or have fewer: `waylog archive run --help`. Backups, rebuilds and reads of all streams fail when they run out (`database.too-few-locks`).',
    value: ({ database }) => database?.lockShare,
  },
  {
    name: 'SqlRunsOn',
    severity: 'warning',
    threshold: READER_MAX_SECONDS,
    what: 'seconds for which the oldest statement of ad-hoc SQL has run, though none may for more than 60',
    remedy: (_, { database }) =>
      endReaderSessions(
        database?.readerSessions.filter(({ seconds }) => seconds > READER_MAX_SECONDS).map(({ pid }) => pid),
      ),
    value: ({ database }) => database && (database.readerSessions[0]?.seconds ?? 0),
  },
  {
    name: 'JobsFailing',
    severity: 'warning',
    threshold: 0,
    what: 'jobs of TimescaleDB, such as its policies, that fail or do not run',
    remedy: '`waylog doctor` and `GET /v1/admin/health` name them, and say why and what to do.',
    value: ({ database }) => database?.jobTroubles.length,
  },
  {
    name: 'BackupFailed',
    severity: 'warning',
    threshold: 0,
    what: '1 when the last scheduled backup failed, or the newest complete one is older than twice WAYLOG_BACKUP_INTERVAL',
    remedy: (_, { backups }) =>
      `${backups?.problem ?? 'The log of the server says why.'} \`waylog backup --scheduled\` takes one now; see docs/how-to/at-three-in-the-morning.md.`,
    value: ({ backups }) => backups && (backups.problem === undefined ? 0 : 1),
  },
  {
    name: 'FilesNotCollected',
    severity: 'warning',
    threshold: 0,
    what: '1 when the last look for files that no event needs was refused or failed, so that none goes, not even of what was erased',
    remedy: (_, { fileCollection }) =>
      `${fileCollection?.problem ?? 'The log of the server says why.'} \`waylog files gc --dry-run\` tries it; see docs/how-to/at-three-in-the-morning.md.`,
    value: ({ fileCollection }) => fileCollection && (fileCollection.problem === undefined ? 0 : 1),
  },
  {
    name: 'ReplicationLag',
    severity: 'warning',
    threshold: 60,
    what: 'seconds that the slowest replica is behind',
    remedy: 'Look at the network and the load of that replica: pg_stat_replication.',
    value: ({ database }) =>
      database && Math.max(0, ...database.replicas.map(({ lagSeconds }) => lagSeconds ?? 0)),
  },
];
