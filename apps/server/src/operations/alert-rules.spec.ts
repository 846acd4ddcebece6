import type { ProjectionStatus } from '#lib/projections';
import { alertRules } from './alert-rules.js';
import { stateOf } from './alerts.js';
import type { DatabaseFacts, Observation } from './observation.js';
import { Statistics } from './statistics.js';

const rest = { size: 10, checkedIn: 5, maxOverflow: 0, overflow: 0, waiting: 0, invalid: 0, totalCreated: 6 };
/** Three pools; the one for queries uses this many of its ten connections. */
const poolUsing = (checkedOut: number): Observation['pool'] => ({
  ...rest,
  size: 30,
  checkedOut: checkedOut + 2,
  pools: [
    { ...rest, name: 'log', checkedOut: 1 },
    { ...rest, name: 'queries', checkedOut },
    { ...rest, name: 'tables', checkedOut: 1 },
  ],
});
const database: DatabaseFacts = {
  capabilities: {} as DatabaseFacts['capabilities'],
  activeConnections: 1,
  totalConnections: 6,
  maxConnections: 100,
  databaseBytes: 1,
  replicas: [],
  diskUsedShare: 0.5,
  openFindings: 0,
  openLosses: 0,
  lockShare: 0.1,
  jobTroubles: [],
  readerSessions: [{ pid: 7, seconds: 59 }],
  readOnly: undefined,
};
const projection: ProjectionStatus = {
  projection: 'flights',
  projector: 'flight',
  state: 'active',
  version: 1,
  codeVersion: 1,
  position: '1',
  lagEvents: 0,
  lagSeconds: 0,
  stuckSeconds: 0,
  eventsPerSecond: 0,
  parkedStreams: 0,
};
const well: Observation = {
  at: 1e12,
  pool: poolUsing(1),
  database,
  projections: [projection],
  reactors: [],
  auditProblems: 0,
  auditLookedSecondsAgo: 60,
  auditStalledSeconds: 0,
  backups: { newestAt: '2026-11-30T02:15:00.000Z' },
  files: { files: 3, bytes: 3_000, missing: 0 },
  fileCollection: {},
  error: undefined,
  logDownSeconds: 0,
};
const firing = (observation: Observation, statistics = new Statistics()) =>
  alertRules
    .map((rule) => stateOf(rule, undefined, observation, statistics))
    .filter(({ state }) => state === 'firing')
    .map(({ name }) => name);

describe('alerts', () => {
  it('do not fire while all is well', () => {
    expect(firing(well)).toEqual([]);
  });

  it('do not fire while a log moves to another leader', () => {
    expect(firing({ ...well, error: 'no leader yet', projections: [], logDownSeconds: 9 })).toEqual([]);
  });

  it.each<[string, Partial<Observation>]>([
    ['DatabaseDown', { error: 'refused', database: undefined, projections: [] }],
    ['DatabaseReadOnly', { database: { ...database, readOnly: 'it is a standby' } }],
    ['LogDown', { error: 'EventStoreDB did not answer', projections: [], logDownSeconds: 15.1 }],
    ['IntegrityViolation', { database: { ...database, openFindings: 1 } }],
    ['AuditBroken', { auditProblems: 1 }],
    ['AuditStalled', { auditStalledSeconds: 1_201 }],
    ['BackupFailed', { backups: { problem: 'The last scheduled backup failed: no space left' } }],
    ['FilesNotCollected', { fileCollection: { problem: 'They may be those of another log.' } }],
    ['ProjectionStuck', { projections: [{ ...projection, stuckSeconds: 61 }] }],
    [
      'ProjectionPaused',
      {
        reactors: [],
        projections: [
          { ...projection, state: 'paused', pausedSince: new Date(1e12 - 901_000).toISOString() },
        ],
      },
    ],
    ['StreamsParked', { projections: [{ ...projection, parkedStreams: 1 }] }],
    ['PoolUsage', { pool: poolUsing(9) }],
    ['DiskUsage', { database: { ...database, diskUsedShare: 0.86 } }],
    ['LocksShort', { database: { ...database, lockShare: 0.51 } }],
    ['SqlRunsOn', { database: { ...database, readerSessions: [{ pid: 4711, seconds: 76 }] } }],
    [
      'JobsFailing',
      {
        database: {
          ...database,
          jobTroubles: [{ job: 'scheduler', what: 'does not run', remedy: 'migrate' }],
        },
      },
    ],
    [
      'ReplicationLag',
      {
        database: { ...database, replicas: [{ name: 'r', state: 'streaming', lagBytes: 1, lagSeconds: 61 }] },
      },
    ],
  ])('fire: %s', (name, change) => {
    expect(firing({ ...well, ...change })).toEqual([name]);
  });

  it('look at every context', () => {
    const paused = { ...projection, state: 'paused' as const, stuckSeconds: 1_000 };
    const other = { ...projection, projector: 'camera' };
    const seen = (...projections: ProjectionStatus[]) => firing({ ...well, projections });
    expect(seen(paused, { ...other, stuckSeconds: 61 })).toEqual(['ProjectionStuck']);
    expect(seen(paused, other)).toEqual([]);
    const parked = alertRules.find(({ name }) => name === 'StreamsParked');
    // Each table of a projector says the same of it.
    const projections = [projection, projection, other].map((one) => ({ ...one, parkedStreams: 2 }));
    expect(parked?.value({ ...well, projections }, new Statistics())).toBe(4);
  });

  it('do not fire at the thresholds themselves', () => {
    expect(
      firing({
        ...well,
        pool: poolUsing(8),
        projections: [{ ...projection, stuckSeconds: 60 }],
        database: { ...database, diskUsedShare: 0.85 },
      }),
    ).toEqual([]);
  });

  it('fire for an error rate above a tenth, once there are enough requests', () => {
    const statistics = new Statistics();
    for (let n = 0; n < 10; n++) statistics.observeRequest(0.01, 503);
    expect(firing(well, statistics)).toEqual([]);
    for (let n = 0; n < 90; n++) statistics.observeRequest(0.01, 200);
    expect(firing(well, statistics)).toEqual([]);
    statistics.observeRequest(0.01, 500);
    expect(firing(well, statistics)).toEqual(['ErrorRate']);
  });

  it('fire for queries that take more than a second on average, once there are enough, and name the slow ones', () => {
    const statistics = new Statistics();
    const rule = alertRules.find(({ name }) => name === 'SlowQueries');
    if (!rule) throw new Error('no such rule');
    for (let n = 0; n < 10; n++) statistics.observeQuery('GetFlight', 'done', 0.01);
    for (let n = 0; n < 9; n++) statistics.observeQuery('GetFrameMinutes', 'done', 4);
    expect(firing(well, statistics)).toEqual([]);
    statistics.observeQuery('GetFrameMinutes', 'done', 5);
    expect(firing(well, statistics)).toEqual(['SlowQueries']);
    expect(stateOf(rule, undefined, well, statistics).remedy).toMatch(
      /^Most of the time went to GetFrameMinutes: 10 in the last minute, 4\.10 s on average, 5\.00 s at most\./,
    );
  });

  it('say since when they have fired, and which values are unknown', () => {
    const rule = alertRules.find(({ name }) => name === 'DiskUsage');
    if (!rule) throw new Error('no such rule');
    const unseen = { ...well, database: { ...database, diskUsedShare: undefined } };
    const first = stateOf(rule, undefined, unseen, new Statistics());
    expect(first.state).toBe('unknown');
    const later = stateOf(rule, first, { ...unseen, at: 2e12 }, new Statistics());
    expect(later.since).toBe(first.since);
  });
});
