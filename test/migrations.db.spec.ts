import { existsSync } from 'node:fs';
import pg from 'pg';
import type { QueryRunner } from 'typeorm';
import { flightModels, flightProjections } from '#lib/flight';
import { EVENT_STORE } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { loadCheckpoints } from '#lib/projections';
import {
  backupFirst,
  migrate,
  migrations,
  migrationStatus,
  revert,
  runMigrations,
  schemaState,
  snapshot,
  snapshotOfMigrations,
  withWaylogModels,
  type Migration,
  type MigrationRequest,
} from '../migrations/index.js';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { aChunk, aFlight, aFrame, at, aWaypoint } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { flightOf, startWaylog } from './support/waylog.js';

const names = migrations.map((migration) => new migration().name);
const revisions = names.map((name) => name.slice(-13));
const [eventLog = ''] = revisions;
const models = withWaylogModels(flightModels);
const request = (changes: Partial<MigrationRequest> = {}): MigrationRequest => ({
  serviceName: 'flight',
  ...changes,
});

/** Creates an unknown table, and deletes rows that are needed. */
class Careless9000000000001 implements Migration {
  name = 'Careless9000000000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create table flight.careless (at timestamptz not null)`);
    await runner.query(`select create_hypertable('flight.careless', by_range('at'))`);
    await runner.query(`delete from flight.waypoints`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table flight.careless`);
  }
}

class Failing9000000000002 implements Migration {
  name = 'Failing9000000000002';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table flight.geofences`);
    await runner.query(`select nonsense`);
  }

  async down(): Promise<void> {}
}

/** Cannot run in a transaction. */
class Concurrent9000000000001 implements Migration {
  name = 'Concurrent9000000000001';
  transaction = false;

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create index concurrently by_altitude on flight.flights (altitude)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop index flight.by_altitude`);
  }
}

class DropsAColumn9000000000003 implements Migration {
  name = 'DropsAColumn9000000000003';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table flight.waypoints drop column altitude`);
  }

  async down(): Promise<void> {}
}

class DropsAnIndex9000000000004 implements Migration {
  name = 'DropsAnIndex9000000000004';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`drop index flight.waypoints_in_time`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`create index waypoints_in_time on flight.waypoints (flight_id, "timestamp", id)`);
    throw new Error('the way back is blocked');
  }
}

/** The revision that creates the keys of flights. */
const DATA_KEYS = 1_790_000_013_000;

describe('migrations', () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await testDatabase();
  });
  afterEach(() => database.drop());
  const tables = async () =>
    (
      await database.pool.query<{ name: string }>(
        `select schemaname || '.' || tablename as name from pg_tables
          where schemaname in ('log', 'projection', 'flight', 'registry', 'timescale') order by 1`,
      )
    ).rows.map(({ name }) => name);
  const count = async (table: string) =>
    Number((await database.pool.query<{ n: string }>(`select count(*) as n from ${table}`)).rows[0]?.n);

  /** Runs Waylog on the database until its tables hold the whole log, and returns their hashes. */
  const filledTables = async (work?: (waylog: Awaited<ReturnType<typeof startWaylog>>) => Promise<void>) => {
    const waylog = await startWaylog(database.url);
    await work?.(waylog);
    const watch = flightOf(waylog.app).watch;
    const head = await waylog.app.get<EventStore>(EVENT_STORE).head();
    const wanted = new Map(flightProjections.map(({ name, version }) => [name, version]));
    // A projection that is rebuilt among others has its checkpoint before its rows; its version shows when it is
    // complete.
    for (;;) {
      await watch.waitFor(head, 60_000);
      const checkpoints = await loadCheckpoints(database.pool, {
        projector: 'flight',
        names: [...wanted.keys()],
      });
      if (checkpoints.every(({ projection, version }) => version === wanted.get(projection))) break;
    }
    await waylog.close();
    return tableHashes(database.url);
  };
  const recordFlights = () =>
    filledTables(async ({ database: flights }) => {
      await flights.insertFlight(aFlight('f1', 3));
      await flights.insertFlight(aFlight('f2', 2));
      for (let n = 0; n < 5; n++) {
        await flights.saveFrameResult('f1', aFrame(n));
        await flights.saveHeading('f1', n, n * 10, at(n));
        await flights.saveImageMetadata('f1', n, `/images/${n}.jpg`, { width: 6000 });
      }
      await flights.updateWaypoint('f1', 'w1', aWaypoint(1, { refined: true }));
      await flights.saveChunkState('f1', aChunk('c1'));
    });

  it('go all the way up, down and up again', async () => {
    const before = await tables();
    expect(before).toContain('flight.frame_results');
    await revert(database.url, names.length);
    expect(await tables()).toEqual([]);
    expect((await schemaState(database.url)).missing).toEqual(names);
    expect(await migrate(database.url)).toEqual(names);
    expect(await tables()).toEqual(before);
  });

  it('keep the log on the way down to any revision above it, and the tables can be rebuilt from it', async () => {
    const before = await recordFlights();
    expect(before['waypoints']).toMatch(/^5 rows/);
    const events = await count('log.events');
    for (const targetRevision of revisions.slice(0, -1).reverse()) {
      const down = await runMigrations(database.url, request({ targetRevision, confirmDataLoss: true }));
      // The keys that seal the flights' texts are kept, even below the migration that creates their table.
      expect(down).toMatchObject({
        success: true,
        applied: [],
        validationIssues:
          Number(targetRevision) < DATA_KEYS ? [{ category: 'extra-table', location: 'log.data_keys' }] : [],
      });
      expect(down.reverted).toEqual(names.slice(revisions.indexOf(targetRevision) + 1).reverse());
      expect(await count('log.events')).toBe(events);
      const up = await runMigrations(database.url, request(), { models });
      expect(up).toMatchObject({ success: true, reverted: [], validationIssues: [] });
      expect(up.applied).toEqual(names.slice(revisions.indexOf(targetRevision) + 1));
      expect(await filledTables()).toEqual(before);
    }
  });

  it('that rewrite data which nothing else can restore start after a backup, if there are events', async () => {
    const before = revisions[names.findIndex((name) => name.startsWith('AuditChain')) - 1] ?? '';
    const back = () =>
      runMigrations(database.url, request({ targetRevision: before, confirmDataLoss: true }));
    const told: string[] = [];
    const hashes = async () =>
      (
        await database.pool.query(
          `select from information_schema.columns where table_schema = 'log' and table_name = 'events' and column_name = 'hash'`,
        )
      ).rowCount;
    const onRewriting = async (what: string) => {
      told.push(what);
      // Nothing has been rewritten yet.
      expect(await hashes()).toBe(0);
      return '/backups/first.dump';
    };

    await back();
    const empty = await runMigrations(database.url, request(), { onRewriting });
    expect(empty).toMatchObject({
      success: true,
      applied: expect.arrayContaining(['AuditChain1790000012000']),
    });
    expect(empty).not.toHaveProperty('backup');
    expect(told).toEqual([]);

    await recordFlights();
    // A migration that rewrites nothing needs no backup.
    await runMigrations(database.url, request({ targetRevision: revisions.at(-2)!, confirmDataLoss: true }));
    await runMigrations(database.url, request(), { onRewriting });
    expect(told).toEqual([]);

    await back();
    const refusing = () => Promise.reject(backupFirst('It rewrites', 'Say where to.'));
    await expect(runMigrations(database.url, request(), { onRewriting: refusing })).rejects.toMatchObject({
      code: 'migration.backup-first',
    });
    expect((await schemaState(database.url)).missing).toContain('AuditChain1790000012000');
    const lines: string[] = [];
    const response = await runMigrations(database.url, request(), {
      onRewriting,
      progress: (line) => lines.push(line),
    });
    expect(response).toMatchObject({ success: true, backup: '/backups/first.dump' });
    expect(told).toEqual([
      'AuditChain1790000012000 rewrites the log, ErasedForGood1790000021000 rewrites keys of erased flights',
    ]);
    expect(lines.slice(0, 2)).toEqual([
      `${told[0]!}: a backup comes first`,
      'backed up to /backups/first.dump',
    ]);

    await back();
    const without = await runMigrations(database.url, request({ withoutBackup: true }), {
      onRewriting,
      progress: (line) => lines.push(line),
    });
    expect(without).toMatchObject({ success: true });
    expect(told).toHaveLength(1);
    expect(lines).toContain(`${told[0]!}; no backup is taken first, as was asked for`);
  });

  it('do not delete a log that has events without confirmation', async () => {
    await recordFlights();
    const events = await count('log.events');
    const below = request({ targetRevision: '0', confirmDataLoss: true });
    await expect(runMigrations(database.url, below)).rejects.toMatchObject({
      code: 'migration.log-not-empty',
    });
    await expect(runMigrations(database.url, { ...below, autoRollback: false })).rejects.toMatchObject({
      code: 'migration.log-not-empty',
    });
    expect(await count('log.events')).toBe(events);
    expect((await schemaState(database.url)).missing).toEqual([]);
    const { success } = await runMigrations(database.url, below, { deleteTheLog: true });
    expect(success).toBe(true);
    expect(await tables()).toEqual([]);
  });

  it('drop no tables without confirmation, nor under a process that uses them', async () => {
    const back = request({ targetRevision: eventLog });
    await expect(runMigrations(database.url, back)).rejects.toMatchObject({
      code: 'migration.not-confirmed',
    });
    const waylog = await startWaylog(database.url);
    await waylog.database.insertFlight(aFlight('f1'));
    await expect(runMigrations(database.url, { ...back, confirmDataLoss: true })).rejects.toMatchObject({
      code: 'migration.schema-in-use',
    });
    await waylog.close();
    expect(await runMigrations(database.url, { ...back, confirmDataLoss: true })).toMatchObject({
      success: true,
    });
  });

  it('refuse an unknown service and an unknown revision', async () => {
    await expect(runMigrations(database.url, request({ serviceName: 'flihgt' }))).rejects.toMatchObject({
      code: 'service.unknown',
    });
    await expect(runMigrations(database.url, request({ targetRevision: '17' }))).rejects.toMatchObject({
      code: 'migration.unknown-revision',
    });
  });

  it('report phases, new hypertables and the time that a run took', async () => {
    await revert(database.url, names.length);
    const response = await runMigrations(database.url, request(), { models });
    expect(response).toEqual({
      success: true,
      serviceName: 'flight',
      phasesCompleted: ['lock', 'inspect', 'pre-validation', 'migrate', 'hypertables', 'post-validation'],
      hypertablesCreated: expect.arrayContaining([
        'flight.frame_results',
        'flight.heading_history',
      ]) as string[],
      validationIssues: [],
      rollbackPerformed: false,
      executionTime: expect.any(Number) as number,
      message: `ran ${names.join(', ')}`,
      applied: names,
      reverted: [],
    });
    expect(response.executionTime).toBeGreaterThan(0);
  });

  it('list which have run and when, also if the time was not recorded', async () => {
    await revert(database.url, 1);
    const status = await migrationStatus(database.url);
    expect(status.map(({ revision }) => revision)).toEqual(revisions);
    expect(status[0]).toEqual({
      revision: eventLog,
      serviceName: 'waylog',
      description: 'event log',
      isApplied: true,
      appliedAt: expect.stringMatching(/^20\d\d-.*Z$/) as string,
      isCurrent: false,
    });
    expect(status.at(-1)).toMatchObject({ isApplied: false, isCurrent: false });
    expect(status.at(-2)).toMatchObject({ isApplied: true, isCurrent: true });
    await database.pool.query(`alter table waylog_migrations drop column applied_at`);
    const old = await migrationStatus(database.url);
    expect(old[0]).toMatchObject({ isApplied: true });
    expect(old[0]).not.toHaveProperty('appliedAt');
    expect(await migrate(database.url)).toEqual(names.slice(-1));
  });

  it('leave a database exactly as it was when one of a run fails', async () => {
    const before = await recordFlights();
    const there = await tables();
    const broken = [...migrations, Careless9000000000001, Failing9000000000002];
    const response = await runMigrations(database.url, request(), { migrations: broken });
    expect(response).toMatchObject({
      success: false,
      rollbackPerformed: true,
      phasesCompleted: ['lock', 'inspect', 'pre-validation'],
      hypertablesCreated: [],
      applied: [],
    });
    expect(response.errorMessage).toContain('Failing9000000000002 failed: column "nonsense" does not exist');
    expect(await tables()).toEqual(there);
    expect(await tableHashes(database.url)).toEqual(before);
    expect((await schemaState(database.url)).unknown).toEqual([]);
  });

  it('keep what ran before the failed one if no rollback is requested', async () => {
    const broken = [...migrations, Careless9000000000001, Failing9000000000002];
    const response = await runMigrations(database.url, request({ autoRollback: false }), {
      migrations: broken,
    });
    expect(response).toMatchObject({
      success: false,
      rollbackPerformed: false,
      applied: ['Careless9000000000001'],
    });
    expect(await tables()).toEqual(expect.arrayContaining(['flight.careless', 'flight.geofences']));
    expect((await schemaState(database.url)).unknown).toEqual(['Careless9000000000001']);
  });

  it('undo by `down` what could not run in the transaction', async () => {
    const broken = [...migrations, Concurrent9000000000001, Failing9000000000002];
    const response = await runMigrations(database.url, request(), { migrations: broken });
    expect(response).toMatchObject({ success: false, rollbackPerformed: true, applied: [] });
    const { rows } = await database.pool.query(`select from pg_indexes where indexname = 'by_altitude'`);
    expect(rows).toEqual([]);
    expect((await schemaState(database.url)).unknown).toEqual([]);
    const fine = [...migrations, Concurrent9000000000001];
    const done = await runMigrations(database.url, request(), { migrations: fine });
    expect(done).toMatchObject({
      success: true,
      applied: ['Concurrent9000000000001'],
      validationIssues: [{ severity: 'warning', category: 'stale-snapshot' }],
    });
  });

  it('are rolled back when the validation finds that they broke something', async () => {
    const before = await recordFlights();
    const standard = {
      migrations: [...migrations, DropsAColumn9000000000003],
      snapshot: { ...snapshot, '9000000000003': { makes: {} } },
      models,
    };
    const response = await runMigrations(database.url, request(), standard);
    expect(response).toMatchObject({
      success: false,
      rollbackPerformed: true,
      phasesCompleted: ['lock', 'inspect', 'pre-validation', 'migrate', 'hypertables'],
      validationIssues: [
        { severity: 'error', category: 'missing-column', location: 'flight.waypoints.altitude' },
      ],
    });
    expect(await tableHashes(database.url)).toEqual(before);
    // A caller that requests no validation gets none.
    expect(await runMigrations(database.url, request({ validationLevel: 'none' }), standard)).toMatchObject({
      success: true,
      validationIssues: [],
      phasesCompleted: ['lock', 'inspect', 'migrate', 'hypertables'],
    });
  });

  it('fail on warnings if the validation is strict, and restore what a failing `down` had dropped', async () => {
    const standard = {
      migrations: [...migrations, DropsAnIndex9000000000004],
      snapshot: { ...snapshot, '9000000000004': { makes: {} } },
    };
    const strict = await runMigrations(database.url, request({ validationLevel: 'strict' }), standard);
    expect(strict).toMatchObject({ success: false, rollbackPerformed: true });
    const basic = await runMigrations(database.url, request(), standard);
    expect(basic).toMatchObject({
      success: true,
      validationIssues: [{ severity: 'warning', category: 'missing-index' }],
    });
    const back = request({ targetRevision: eventLog, confirmDataLoss: true });
    expect(await runMigrations(database.url, back, standard)).toMatchObject({
      success: false,
      rollbackPerformed: true,
      reverted: [],
      errorMessage: expect.stringContaining('the way back is blocked') as string,
    });
    expect(await runMigrations(database.url, request({ validationLevel: 'strict' }), standard)).toMatchObject(
      {
        success: false,
        rollbackPerformed: false,
        phasesCompleted: ['lock', 'inspect'],
      },
    );
    expect(await tables()).toContain('flight.waypoints');
    const { rows } = await database.pool.query(
      `select from pg_indexes where indexname = 'waypoints_in_time'`,
    );
    expect(rows).toEqual([]);
  });

  it('do not forget which streams are parked', async () => {
    await database.pool.query(
      `insert into projection.parked_streams (projector, stream_id, revision, position, event_id, type, error)
       values ('flight', 'flight-f1', 0, '1', gen_random_uuid(), 'FlightCreated', 'poison')`,
    );
    const back = request({ targetRevision: '1790000004000', confirmDataLoss: true });
    expect(await runMigrations(database.url, back)).toMatchObject({
      success: false,
      rollbackPerformed: true,
      errorMessage: expect.stringContaining('1 streams are parked') as string,
    });
    expect(await count('projection.parked_streams')).toBe(1);
    await database.pool.query('delete from projection.parked_streams');
    expect(await runMigrations(database.url, back)).toMatchObject({ success: true });
  });

  it('stop between two migrations when told to', async () => {
    await revert(database.url, names.length);
    const stop = new AbortController();
    const progress = (line: string) => {
      if (line === `migrated ${names[1]}`) stop.abort();
    };
    const response = await runMigrations(database.url, request(), { signal: stop.signal, progress });
    expect(response).toMatchObject({ success: false, rollbackPerformed: true, applied: [] });
    expect(await tables()).toEqual([]);
  });

  it('run once when two processes start together', async () => {
    await revert(database.url, names.length);
    const [a, b] = await Promise.all([migrate(database.url), migrate(database.url)]);
    expect([a.length, b.length].sort()).toEqual([0, names.length]);
  });

  it('report a database that is newer than the code, and leave it alone', async () => {
    await database.pool.query(
      `insert into waylog_migrations (timestamp, name) values (9999999999999, 'FromTheFuture9999999999999')`,
    );
    expect(await schemaState(database.url)).toEqual({ missing: [], unknown: ['FromTheFuture9999999999999'] });
    await expect(migrate(database.url)).rejects.toMatchObject({ code: 'schema.newer-than-code' });
    expect((await migrationStatus(database.url)).at(-1)).toMatchObject({
      serviceName: 'unknown',
      description: 'from the future',
      isCurrent: true,
    });
  });

  it('find nothing in an empty database', async () => {
    const url = new URL(testServerUrl());
    const admin = new pg.Client({ connectionString: url.href });
    await admin.connect();
    const name = `waylog_test_empty_${process.pid}`;
    await admin.query(`create database ${name}`);
    url.pathname = `/${name}`;
    expect((await schemaState(url.href)).missing).toHaveLength(names.length);
    await admin.query(`drop database ${name} with (force)`);
    await admin.end();
  });

  it('create what their snapshot says; `npm run snapshot` writes it again', async () => {
    expect(await snapshotOfMigrations(testServerUrl())).toEqual(snapshot);
  });

  it('are in the files that their names say', () => {
    for (const model of withWaylogModels([])) expect(existsSync(model.sourceFile)).toBe(true);
  });
});
