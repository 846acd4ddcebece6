import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { checkingKeys, newKeyPair, verifyAudit } from '#lib/audit';
import type { EventStore } from '#lib/event-store';
import { flight, flightTables, verifyFrameMinutes } from '#lib/flight';
import { readConfig } from '#lib/platform';
import { rebuild, verify, type TableHash } from '#lib/projections';
import { Archives, foreignCode, queryOn, rightsDeviations } from '#lib/timescale';
import { EVENT_STORE, modelsOf, RunningContexts, tablesOf, type RollupVerification } from '#lib/waylog';
import { contexts } from '../../apps/contexts.js';
import { startServer } from '../../apps/server/src/server.js';
import {
  migrations,
  revert,
  runMigrations,
  validateSchema,
  withWaylogModels,
} from '../../migrations/index.js';
import { ADMIN_KEY } from '../support/admin-key.js';
import { testDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { aChunk, aFlight, aFrame, aWaypoint, at } from '../support/samples.js';
import { bearer, httpClient, until } from '../support/server.js';
import { startWaylog } from '../support/waylog.js';
import { columnsOf, folder, hashesOf, record, restore } from './waylog-0.1.js';

const models = withWaylogModels(modelsOf(contexts));

/** Its only column that a later version takes away: it held the one row that there could be. */
const TAKEN_AWAY = 'projection.folded_log.only_one';

describe('a database of 0.1', () => {
  let database: TestDatabase;
  /** Of every table then. */
  let columns: Map<string, string[]>;
  let restored: Record<string, TableHash>;
  beforeAll(async () => {
    database = await testDatabase('PostgreSQL', restore);
    columns = await columnsOf(database.url);
    restored = await hashesOf(database.url, columns);
  });
  afterAll(() => database.drop());

  const upgrade = () =>
    runMigrations(database.url, { serviceName: 'waylog', validationLevel: 'strict' }, { models, contexts });
  const rows = async <Row extends object>(sql: string, values: unknown[] = []) =>
    (await database.pool.query<Row>(sql, values)).rows;
  /** The rows as 0.1 knows them, but for these tables and columns. */
  const thenKnown = async (...but: string[]) => {
    const known = [...columns]
      .filter(([table]) => !but.includes(table))
      .map(
        ([table, names]) =>
          [table, names.filter((name) => ![TAKEN_AWAY, ...but].includes(`${table}.${name}`))] as const,
      );
    return hashesOf(database.url, new Map(known));
  };
  /** Every table and index with the file that it is in: another one, if it was made again. */
  const files = () =>
    rows(
      `select c.oid::regclass::text as name, c.oid::text, relfilenode::text from pg_class c
         join pg_namespace n on n.oid = relnamespace
        where nspname in ('flight', 'log', 'rebuild_flight', 'reports', '_timescaledb_internal') and relkind in ('r', 'i')
          -- Tables that 0.1 did not have.
          and relname !~ '^(image_contents|erasing_types)'
        order by 1`,
    );
  const chunks = () =>
    rows(
      `select hypertable_schema || '.' || hypertable_name as "table", range_start, range_end, chunk_name
         from timescaledb_information.chunks where hypertable_schema !~ '^_' order by 1, 2`,
    );

  it('is restored as it was', async () => {
    expect(
      Object.fromEntries(
        Object.entries(restored).map(([table, { rows: count, hash }]) => [
          table,
          // Numbers of objects are those of the database.
          { rows: count, ...(record.tables[table]?.hash && { hash }) },
        ]),
      ),
    ).toEqual(record.tables);
    const tables = [...new Set(record.chunks.map(({ table }) => table))];
    expect(new Set((await chunks()).map((chunk) => (chunk as { table: string }).table))).toEqual(
      new Set(tables),
    );
  });

  it('is not worked on before it is up to date', async () => {
    await expect(startWaylog(database.url)).rejects.toMatchObject({ code: 'schema.behind' });
    expect(await hashesOf(database.url, columns)).toEqual(restored);
  });

  it('comes up to date, goes back and comes up again without a change of a row, a table or a chunk', async () => {
    const migrated = 'public.waylog_migrations';
    const then = await thenKnown(migrated);
    const before = [await files(), await chunks()];
    const missing = migrations.map(({ name }) => name).slice(record.tables[migrated]?.rows);
    expect(missing.length).toBeGreaterThan(0);
    const comesUp = async () => {
      expect(await upgrade()).toMatchObject({
        success: true,
        applied: missing,
        hypertablesCreated: [],
        validationIssues: [],
      });
      expect(await thenKnown(migrated)).toEqual(then);
      expect([await files(), await chunks()]).toEqual(before);
    };
    await comesUp();
    await revert(database.url, missing.length);
    expect(await hashesOf(database.url, columns)).toEqual(restored);
    await comesUp();

    const everything = async () => hashesOf(database.url, await columnsOf(database.url));
    const now = await everything();
    expect(await upgrade()).toMatchObject({ success: true, applied: [], validationIssues: [] });
    expect(await everything()).toEqual(now);

    const query = queryOn(database.pool);
    expect(await validateSchema(query, 'strict', models)).toMatchObject({ isValid: true, issues: [] });
    expect(await rightsDeviations(query)).toEqual([]);
    expect(await foreignCode(query)).toEqual([]);
  });

  it('knows whose its bookkeeping is', async () => {
    expect(
      await rows(`select projector, projection, version, position from projection.checkpoints order by 2`),
    ).toEqual(
      record.checkpoints.map((checkpoint) => ({
        projector: checkpoint.projection === 'frame_minutes' ? 'frame-minutes' : 'flight',
        ...checkpoint,
      })),
    );
    for (const table of ['rebuilds', 'integrity_findings', 'folded_log'])
      expect(await rows(`select distinct projector from projection.${table}`)).toEqual([
        { projector: 'flight' },
      ]);
    expect(await rows(`select name from projection.contexts`)).toEqual([{ name: 'flight' }]);
  });

  describe('under the present server', () => {
    let app: NestFastifyApplication;
    let url: string;
    /** A copy of those of 0.1, with which the server goes on. */
    let digests: string;
    const pair = newKeyPair();
    const server = httpClient(() => url);
    const store = () => app.get<EventStore>(EVENT_STORE);
    const settled = async () => app.get(RunningContexts).waitFor(await store().head(), 60_000);
    const told = async (path: string) => {
      const { status, body } = await server.call('GET', path);
      return { status, body: body as unknown };
    };
    const job = async (path: string) => {
      const { body } = await server.call('POST', path);
      const { body: ended } = await until(
        () => server.call('GET', `/v1/admin/jobs/${body.jobId}`),
        ({ body: { state } }) => state !== 'running',
      );
      return ended as unknown;
    };
    beforeAll(async () => {
      digests = await mkdtemp(join(tmpdir(), 'waylog-upgrade-'));
      await cp(join(folder, 'digests'), digests, { recursive: true });
      app = await startServer(
        readConfig({
          DATABASE_URL: database.url,
          PORT: '0',
          WAYLOG_ADMIN_KEY: ADMIN_KEY,
          WAYLOG_AUDIT_KEY: pair.privateKey,
          WAYLOG_AUDIT_PUBLIC_KEYS: record.auditKey,
          WAYLOG_AUDIT_DIR: digests,
          WAYLOG_VERIFY_SHARE: '0',
        }),
      );
      url = await app.getUrl();
    });
    afterAll(async () => {
      await app.close();
      await rm(digests, { recursive: true });
    });

    it('is gone on with from where it was, and nothing is folded again', async () => {
      // What a server writes of itself, and digests, of which one can be due.
      const ownNotes = [
        'public.waylog_migrations',
        'projection.projectors',
        'log.digests',
        'log.digest_heads',
        // A table that 0.1 did not have is folded.
        'projection.checkpoints',
        'projection.generation',
        // Of the retention.
        'timescale.hypertables.last_run_at',
      ];
      const of01 = async () => [
        await thenKnown(...ownNotes),
        await files(),
        await rows(
          `select * from projection.checkpoints where projection = any (array[${record.checkpoints
            .map(({ projection }) => `'${projection}'`)
            .join(', ')}]) order by projection`,
        ),
      ];
      const before = await of01();
      await until(
        () => server.call('GET', '/v1/admin/projections'),
        ({ body }) => body.every(({ state }: { state: string }) => state === 'active'),
      );
      await settled();
      expect(await of01()).toEqual(before);
    });

    it('answers what it answered', async () => {
      const {
        '/v1/admin/hypertables': _failed,
        '/v1/admin/projections': _moving,
        '/v1/admin/audit/digests': _grows,
        '/v1/admin/integrity': findings,
        ...same
      } = record.answers;
      for (const [path, answer] of Object.entries(same))
        expect({ path, ...(await told(path)) }).toEqual({ path, ...answer });
      expect(await told('/v1/admin/integrity')).toEqual({
        status: 200,
        body: (findings?.body as object[]).map((finding) => ({ projector: 'flight', ...finding })),
      });
      expect((await told('/v1/admin/hypertables')).body).toMatchObject([
        { tableName: 'flight.frame_results', retentionPeriod: '9000 days', chunkInterval: '5 days' },
        { tableName: 'flight.heading_history' },
        { tableName: 'reports.notes', chunkCount: 2 },
      ]);
      expect((await told('/health/ready')).status).toBe(200);
      expect((await told('/v1/admin/models')).body).toContainEqual(
        expect.objectContaining({ serviceName: 'reports' }),
      );
    });

    it('lets in whom it let in', async () => {
      expect((await server.call('GET', '/v1/flights/full', undefined, bearer(record.key))).status).toBe(200);
      expect((await server.call('GET', '/v1/admin/keys', undefined, bearer(record.key))).status).toBe(403);
    });

    it('takes a repeat of a command for what it is, with the same answer', async () => {
      const head = await store().head();
      for (const { key, method, path, body, status, answer } of record.sent) {
        const again = await server.call(method, path, body, { 'idempotency-key': key });
        expect({ path, status: again.status, answer: again.body || null }).toEqual({ path, status, answer });
      }
      expect(await store().head()).toBe(head);
    });

    it('decides on what was there, also where 0.1 has kept a snapshot of it', async () => {
      const refused = async (method: string, path: string, body: unknown, status: number, code: string) =>
        expect(await server.call(method, `/v1/flights${path}`, body)).toMatchObject({
          status,
          body: { code },
        });
      await refused('POST', '', aFlight('full'), 409, 'flight.already-exists');
      await refused('POST', '/full/waypoints', aWaypoint(20), 409, 'waypoint.already-exists');
      await refused('PUT', '/full/waypoints/w9', aWaypoint(9), 404, 'waypoint.not-found');
      await refused('DELETE', '/full/geofences/gone', undefined, 404, 'geofence.not-found');
      await refused('DELETE', '/full/images/1', undefined, 404, 'image.not-found');
      await refused('POST', '/full/chunks/c3/merge', { into: 'c2' }, 404, 'chunk.not-found');
      await refused('PUT', '/deleted/headings/1', { heading: 1, timestamp: at(1) }, 404, 'flight.not-found');
      await refused('PATCH', '/erased', { name: 'again' }, 409, 'flight.erased');
      // What is there already is no news.
      const head = await store().head();
      for (const [path, body] of [
        ['frames/0', aFrame(0)],
        ['headings/22', { heading: 7, timestamp: at(920) }],
        [
          'images/0',
          { filePath: '/images/full/0.jpg', metadata: { width: 6000, nested: { a: [1, null, 'x'] } } },
        ],
      ] as const)
        expect(await server.call('PUT', `/v1/flights/full/${path}`, body)).toMatchObject({ status: 200 });
      expect(await store().head()).toBe(head);
      await server.call('POST', '/v1/flights/full/waypoints', aWaypoint(30));
      await server.call('PUT', '/v1/flights/full/images/4', { filePath: '/images/full/4b.jpg' });
      await server.call(
        'PUT',
        '/v1/flights/full/chunks/c9',
        aChunk('c9', { startFrameId: 8, endFrameId: 9, frames: [8, 9] }),
      );
      const merged = await server.call('POST', '/v1/flights/full/chunks/c9/merge', { into: 'c2' });
      expect(merged.status).toBe(200);
      const fresh = { 'waylog-min-position': merged.body.position as string };
      const [chunk] = (await server.call('GET', '/v1/flights/full/chunks', undefined, fresh)).body;
      expect(chunk).toMatchObject({ chunkId: 'c2', frames: [0, 1, 2, 3, 4, 5, 8, 9] });
      const waypoints = (await server.call('GET', '/v1/flights/full/waypoints')).body;
      expect(waypoints).toHaveLength(8);
    });

    it('keeps its parked flights parked, and what was discarded left out', async () => {
      const { body: parked } = await server.call('GET', '/v1/admin/parked');
      expect(parked).toMatchObject(record.answers['/v1/admin/parked']?.body as object[]);
      for (const { streamId } of parked) {
        await server.call('POST', `/v1/admin/parked/${streamId}/retry`);
        expect((await told('/v1/admin/parked')).body).toContainEqual(
          expect.objectContaining({ streamId, attempts: 2 }),
        );
      }
    });

    it('proves its log by the digests of then, and goes on with them', async () => {
      const audit = () =>
        verifyAudit({
          pool: database.pool,
          keys: checkingKeys([record.auditKey, pair.publicKey]),
          digestFolder: digests,
          vocabulary: flight.vocabulary,
        });
      const { digests: signed } = await audit();
      expect(signed).toBeGreaterThanOrEqual(record.audit.digests);
      expect(await server.call('POST', '/v1/admin/audit/digests')).toMatchObject({ body: { taken: 1 } });
      expect(await audit()).toMatchObject({
        isSound: true,
        problems: [],
        digests: signed + 1,
        signed: signed + 1,
        vouchedPosition: await store().head(),
      });
      expect((await told('/v1/admin/audit/digests')).body).toEqual(
        expect.arrayContaining(record.answers['/v1/admin/audit/digests']?.body as object[]),
      );
      expect(await job('/v1/admin/audit/verifications')).toMatchObject({
        state: 'done',
        result: { isSound: true },
      });
    });

    it('opens its archives, has the same tables as its log says, and makes them again as they are', async () => {
      await settled();
      const tables = { ...tablesOf(flight, store()), connectionString: database.url };
      const [archive] = await rows<{ id: string }>(`select event_id as id from timescale.archival_events`);
      const archives = new Archives(database.pool, flightTables);
      expect(await archives.restore(archive?.id ?? '', { directory: join(folder, 'archive') })).toMatchObject(
        { chunks: 1, restored: 7, present: 0, outdated: 0 },
      );
      expect(await verify({ ...tables, by: 'the test' })).toMatchObject({
        isSound: true,
        log: [],
        records: [],
      });
      const rollups = async () => {
        let found: RollupVerification | undefined;
        await eventually(async () => (found = await verifyFrameMinutes(database.pool)).caughtUp);
        return found;
      };
      expect(await rollups()).toMatchObject({ identical: true, differences: [] });

      const own = new Map(
        [...(await columnsOf(database.url))].filter(([name]) => name.startsWith('flight.')),
      );
      own.delete('flight.frame_minutes_source');
      const before = await hashesOf(database.url, own);
      const cutOff = tables.projections.filter(({ name }) => ['geofences', 'frame_results'].includes(name));
      // One that was cut off in 0.1 begins anew: this version declares more of its tables.
      expect(await rebuild({ ...tables, projections: cutOff })).toMatchObject({
        resumedFrom: 0,
        tables: [{ identical: true }, { identical: true }],
      });
      const { tables: made } = await rebuild(tables);
      expect(made.map(({ identical }) => identical)).toEqual(made.map(() => true));
      expect(await rollups()).toMatchObject({ identical: true });
      expect(await hashesOf(database.url, own)).toEqual(before);
      expect(await rows(`select from projection.rebuilds`)).toEqual([]);
    });

    it('has nothing again of what was erased', async () => {
      for (const id of ['erased', 'erased-deleted'])
        expect(await server.call('POST', `/v1/flights/${id}/erase`)).toMatchObject({ status: 200 });
      const secret = `secret %of erased%`;
      for (const [table, names] of await columnsOf(database.url)) {
        const row = `concat_ws(' ', ${names.map((name) => `"${name}"::text`).join(', ')})`;
        expect({ table, found: await rows(`select from ${table} where ${row} like $1`, [secret]) }).toEqual({
          table,
          found: [],
        });
      }
      // The search does find what was only deleted, and is sealed in the log alone.
      expect(
        await rows(
          `select stream_id from log.data_keys where stream_id like 'flight-erased%' and key is not null`,
        ),
      ).toEqual([]);
      const events = (await server.call('GET', '/v1/flights/erased/events')).body as unknown;
      expect(JSON.stringify(events)).not.toContain('secret');
      const other = (await server.call('GET', '/v1/flights/deleted/events')).body as unknown;
      expect(JSON.stringify(other)).toContain('secret name of deleted');
    });
  });
});
