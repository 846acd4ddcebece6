import { flightModels, flightProjections, flightTables, flight } from '#lib/flight';
import { EVENT_STORE } from '#lib/waylog';
import {
  discovery,
  Hypertables,
  queryOn,
  registeredModels,
  registerModels,
  type ModelRegistrationRequest,
  type RegisteredModel,
  type ValidationLevel,
} from '#lib/timescale';
import type { EventStore } from '#lib/event-store';
import { rebuild } from '#lib/projections';
import { revert, runMigrations, validateSchema, withWaylogModels } from '../migrations/index.js';
import { testDatabase, type TestDatabase } from './support/database.js';
import { aFlight } from './support/samples.js';
import { flightOf, startWaylog } from './support/waylog.js';

const models = withWaylogModels(flightModels);

describe('the validation of a schema', () => {
  let database: TestDatabase;
  beforeEach(async () => {
    database = await testDatabase();
  });
  afterEach(() => database.drop());
  const check = (level: ValidationLevel = 'basic') => validateSchema(queryOn(database.pool), level, models);
  /** What is found after this was done by hand. */
  const after = async (...statements: string[]) => {
    for (const statement of statements) await database.pool.query(statement);
    const { isValid, issues } = await check();
    return { isValid, found: issues.map((i) => `${i.severity} ${i.category} ${i.location}`), issues };
  };

  it('finds nothing in a fresh database', async () => {
    expect(await check('strict')).toMatchObject({ isValid: true, issues: [], validationLevel: 'strict' });
    expect(
      await runMigrations(database.url, { serviceName: 'waylog', validationLevel: 'strict' }),
    ).toMatchObject({ success: true, validationIssues: [] });
  });

  it('finds nothing wrong with what TimescaleDB adds itself', async () => {
    // As for a continuous aggregate; an edition without any accepts the trigger too.
    const { found } = await after(
      `create trigger ts_of_its_own after insert on flight.waypoints for each row
         execute function _timescaledb_functions.metadata_insert_trigger()`,
    );
    expect(found).toEqual([]);
    // If the edition cannot compress, the answer says so, and the rest is done.
    await new Hypertables(database.pool, flightTables).change('frame_results', {
      compressionEnabled: true,
      retentionPeriod: '90 days',
    });
    expect((await check('strict')).issues).toEqual([]);
  });

  it('finds nothing after a projector has worked and tables were rebuilt', async () => {
    const waylog = await startWaylog(database.url);
    await waylog.database.insertFlight(aFlight('f1', 3));
    const store = waylog.app.get<EventStore>(EVENT_STORE);
    await flightOf(waylog.app).watch.waitFor(await store.head(), 60_000);
    await rebuild({
      projector: flight.name,
      projections: flightProjections,
      store,
      connectionString: database.url,
    });
    await waylog.close();
    expect((await check('strict')).issues).toEqual([]);
  });

  it('takes the columns of a folded table as they are declared, whatever a migration made first', async () => {
    const [waypoints] = flightModels.filter(({ name }) => name === 'waypoints');
    if (!waypoints) throw new Error('There is no model of the waypoints.');
    const { lat: _lat, ...others } = waypoints.columns;
    const declared = { ...waypoints, columns: { ...others, note: 'text', lon: 'text not null' } };
    await database.pool.query(
      `alter table flight.waypoints drop column lat, add note text, drop column lon, add lon text not null default ''`,
    );
    const query = queryOn(database.pool);
    const all = models.map((model) => (model === waypoints ? declared : model));
    const columns = ({ category }: { category: string }) => category.endsWith('column');
    expect((await validateSchema(query, 'basic', all)).issues.filter(columns)).toEqual([]);
    const { issues } = await check();
    expect(issues.filter(columns).map(({ category, location }) => `${category} ${location}`)).toEqual([
      'missing-column flight.waypoints.lat',
      'changed-column flight.waypoints.lon',
      'extra-column flight.waypoints.note',
    ]);
    expect(issues.find(({ category }) => category === 'extra-column')?.suggestion).toMatch(
      /^Raise the version of the projection waypoints/,
    );
  });

  it.each([
    [
      'a dropped column',
      'alter table flight.waypoints drop column lat',
      'error missing-column flight.waypoints.lat',
    ],
    [
      'a dropped column of the key',
      'alter table flight.waypoints drop column id',
      'error missing-column flight.waypoints.id',
    ],
    [
      'another type',
      'alter table flight.waypoints alter lat type real',
      'error changed-column flight.waypoints.lat',
    ],
    [
      'a column that may be null',
      'alter table flight.waypoints alter lat drop not null',
      'error changed-column flight.waypoints.lat',
    ],
    [
      'another order of text',
      'alter table flight.flights alter id type text collate "und-x-icu"',
      'error changed-column flight.flights.id',
    ],
    [
      'a new column',
      'alter table flight.waypoints add note text',
      'warning extra-column flight.waypoints.note',
    ],
    [
      'a new column that makes writing impossible',
      'alter table flight.waypoints add note text not null',
      'error extra-column flight.waypoints.note',
    ],
    [
      'a dropped index',
      'drop index flight.waypoints_in_time',
      'warning missing-index flight.waypoints.waypoints_in_time',
    ],
    [
      'a new index',
      'create index mine on flight.waypoints (altitude)',
      'info extra-index flight.waypoints.mine',
    ],
    [
      'a dropped primary key',
      'alter table flight.waypoints drop constraint waypoints_pkey',
      'error missing-primary-key flight.waypoints',
    ],
    [
      'another primary key',
      'alter table flight.waypoints drop constraint waypoints_pkey, add primary key (id)',
      'error changed-primary-key flight.waypoints',
    ],
    [
      'a dropped check',
      'alter table flight.waypoints drop constraint waypoints_lat_check',
      'warning missing-constraint flight.waypoints.waypoints_lat_check',
    ],
    [
      'a dropped unique key of the log',
      'alter table log.events drop constraint events_stream_key_revision_key',
      'error missing-constraint log.events.events_stream_key_revision_key',
    ],
    ['a dropped table', 'drop table flight.flights', 'error missing-table flight.flights'],
    ['a stray table', 'create table flight.stray (a int primary key)', 'warning extra-table flight.stray'],
    [
      'a table that became a hypertable',
      `alter table flight.flight_days drop constraint flight_days_pkey, add primary key (day, flight_id);
       select create_hypertable('flight.flight_days', by_range('day'), create_default_indexes => false);
       alter table flight.flight_days drop constraint flight_days_pkey, add primary key (flight_id, day)`,
      'error extra-hypertable flight.flight_days',
    ],
    [
      'a trigger',
      `create function flight.nothing() returns trigger language plpgsql as 'begin return new; end';
       create trigger spy before insert on log.events for each row execute function flight.nothing()`,
      'warning extra-trigger log.events.spy',
      'info extra-function flight.nothing()',
    ],
  ])('finds %s, and only that', async (_, statement, ...expected) => {
    const { found, issues, isValid } = await after(statement);
    expect(found.sort()).toEqual(expected.sort());
    expect(isValid).toBe(!expected.some((each) => each.startsWith('error')));
    for (const { suggestion, description } of issues) {
      expect(suggestion).toBeTruthy();
      expect(description).toMatch(/\.$/);
    }
  });

  it('finds a hypertable that has become a plain table', async () => {
    const { found } = await after(
      'create table flight.plain (like flight.heading_history including all)',
      'drop table flight.heading_history',
      'alter table flight.plain rename to heading_history',
    );
    expect(found).toContain('error missing-hypertable flight.heading_history');
  });

  it('finds a hypertable with another time column', async () => {
    const { found } = await after(
      'create table flight.other (like flight.heading_history including defaults including constraints)',
      // Not the frame results: in the edition that has them, rollups that depend on the very table hold it.
      'drop table flight.heading_history',
      'alter table flight.other rename to heading_history',
      'alter table flight.heading_history add seen timestamptz not null default now()',
      `select create_hypertable('flight.heading_history', by_range('seen'), create_default_indexes => false)`,
    );
    expect(found.sort()).toEqual([
      'error changed-hypertable flight.heading_history',
      'error missing-primary-key flight.heading_history',
      'warning extra-column flight.heading_history.seen',
      'warning missing-index flight.heading_history.heading_history_in_time',
    ]);
  });

  it.each(['append', 'append_expected'])('finds that log.%s is missing or different', async (name) => {
    const { rows } = await database.pool.query<{ definition: string; signature: string }>(
      `select pg_get_functiondef(oid) as definition, oid::regprocedure::text as signature
         from pg_proc where pronamespace = 'log'::regnamespace and proname = $1`,
      [name],
    );
    const [fn = { definition: '', signature: '' }] = rows;
    const changed = await after(fn.definition);
    expect(changed.found).toEqual([]);
    const other = fn.definition.replace('clock_timestamp()', 'now()');
    expect(other).not.toBe(fn.definition);
    const replaced = await after(other);
    expect(replaced.found).toEqual([expect.stringMatching(`^error changed-function log\\.${name}\\(`)]);
    expect(replaced.issues[0]?.suggestion).toContain(
      'as the sources up to migration 1790000023000 (log histories) say',
    );
    const planned = await after(`${fn.definition}; alter function ${fn.signature} reset plan_cache_mode`);
    expect(planned.found).toEqual([expect.stringMatching(`^error changed-function log\\.${name}\\(`)]);
    const dropped = await after(`drop function ${fn.signature}`);
    expect(dropped.found).toEqual([expect.stringMatching(`^error missing-function log\\.${name}\\(`)]);
  });

  it('finds missing or unknown migrations, and does not repeat their consequences', async () => {
    await revert(database.url, 2);
    const behind = await check();
    // Its migration's `down` leaves the keys in place.
    const issues = behind.issues.filter(({ location }) => location !== 'log.data_keys');
    expect(new Set(issues.map(({ category }) => category))).toEqual(new Set(['missing-migration']));
    expect(issues).toHaveLength(2);
    expect(behind.isValid).toBe(false);
    await database.pool.query(
      `insert into waylog_migrations (timestamp, name) values (9999999999999, 'FromTheFuture9999999999999')`,
    );
    await database.pool.query(`create table flight.of_the_future (a int)`);
    const { found } = await after();
    expect(found.filter((each) => !/missing-migration|log\.data_keys/.test(each))).toEqual([
      'error unknown-migration waylog_migrations.FromTheFuture9999999999999',
    ]);
  });

  it('fails on warnings if it is strict, and checks nothing at level none', async () => {
    await database.pool.query('drop index flight.waypoints_in_time');
    expect(await check('basic')).toMatchObject({ isValid: true, issues: [{ severity: 'warning' }] });
    expect(await check('strict')).toMatchObject({ isValid: false });
    expect(await check('none')).toMatchObject({ isValid: true, issues: [] });
  });

  it('compares with models that differ from the migrations', async () => {
    const others = models.map((model) =>
      model.name === 'waypoints'
        ? {
            ...model,
            columns: { ...model.columns, refined: 'integer', note: 'text' },
            key: ['id'],
            timeColumn: 'timestamp',
          }
        : model.name === 'flights'
          ? { ...model, columns: { id: 'text' }, relationships: ['id -> flight.nowhere.id'] }
          : model,
    );
    const { issues } = await validateSchema(queryOn(database.pool), 'basic', others);
    const found = issues.map(({ category, location }) => `${category} ${location}`);
    expect(found).toEqual(
      expect.arrayContaining([
        'changed-column flight.waypoints.refined',
        'missing-column flight.waypoints.note',
        'changed-primary-key flight.waypoints',
        'missing-hypertable flight.waypoints',
        'extra-column flight.flights.name',
        'broken-relationship flight.flights.id',
      ]),
    );
  });
});

describe('models', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());
  const query = () => queryOn(database.pool);
  const aModel = (changes: Partial<RegisteredModel> = {}): RegisteredModel => ({
    name: 'notes',
    tableName: 'notes',
    fields: { flight_id: 'text not null', at: 'timestamptz not null', text: 'text' },
    primaryKey: ['flight_id', 'at'],
    relationships: ['flight_id -> flight.flights.id'],
    timeColumn: 'at',
    sourceFile: 'src/notes.ts',
    ...changes,
  });
  const register = (serviceName: string, registered: RegisteredModel[], autoCreateTables = false) => {
    const request: ModelRegistrationRequest = { serviceName, models: registered, autoCreateTables };
    return registerModels(database.pool, request, models);
  };

  it('are discovered with fields, relationships, time column and source', () => {
    const services = discovery(models);
    expect(services.map(({ serviceName }) => serviceName)).toEqual(['flight', 'waylog']);
    const [flight, waylog] = services;
    expect(flight?.models.find(({ name }) => name === 'frame_results')).toEqual({
      name: 'frame_results',
      tableName: 'flight.frame_results',
      fields: expect.objectContaining({
        frame_id: 'integer not null',
        timestamp: 'timestamptz not null',
      }) as object,
      primaryKey: ['flight_id', 'frame_id', 'timestamp'],
      relationships: ['flight_id -> flight.flights.id'],
      isHypertable: true,
      timeColumn: 'timestamp',
      sourceFile: 'libs/flight/src/frames/frame-results.projection.ts',
    });
    expect(waylog?.models.find(({ tableName }) => tableName === 'log.events')).toMatchObject({
      fields: { position: 'bigint not null', data: 'json not null' },
      primaryKey: ['position'],
      isHypertable: false,
      sourceFile: 'migrations/1790000001000-event-log.ts',
    });
  });

  it('create their tables if requested, and are validated from then on', async () => {
    const [model] = await register('notebook', [aModel()], true);
    expect(model).toMatchObject({
      serviceName: 'notebook',
      schema: 'notebook',
      table: 'notes',
      timeColumn: 'at',
    });
    const { rows } = await database.pool.query(
      `select from timescaledb_information.hypertables where hypertable_schema = 'notebook'`,
    );
    expect(rows).toHaveLength(1);
    expect((await validateSchema(query(), 'strict', models)).issues).toEqual([]);
    await database.pool.query(`alter table notebook.notes drop column text`);
    const { issues } = await validateSchema(query(), 'basic', models);
    expect(issues).toMatchObject([{ category: 'missing-column', location: 'notebook.notes.text' }]);
    await database.pool.query(`alter table notebook.notes add text text`);
    // A second time changes nothing.
    expect(await register('notebook', [aModel()], true)).toHaveLength(1);
    expect(await registeredModels(query())).toHaveLength(1);
  });

  it('can describe an existing table, if it matches', async () => {
    await database.pool.query(`create schema archive`);
    await database.pool.query(`create table archive.files (id uuid primary key, bytes bigint not null)`);
    const files = aModel({
      name: 'files',
      tableName: 'archive.files',
      fields: { id: 'uuid', bytes: 'bigint not null' },
      primaryKey: ['id'],
      relationships: null,
      timeColumn: null,
    });
    expect(await register('archive', [files])).toMatchObject([{ schema: 'archive', table: 'files' }]);
    await database.pool.query(
      `create view archive.large as select * from archive.files where bytes > 1000000`,
    );
    const large = {
      ...files,
      name: 'large',
      tableName: 'archive.large',
      fields: { id: 'uuid', bytes: 'bigint' },
    };
    expect(await register('archive', [large])).toHaveLength(2);
    expect((await validateSchema(query(), 'strict', models)).issues).toEqual([]);
    await expect(
      register('archive', [{ ...files, fields: { id: 'text', bytes: 'bigint' } }], true),
    ).rejects.toMatchObject({ code: 'model.table-differs' });
  });

  it('are refused if a table or a schema belongs to another service', async () => {
    await register('first', [aModel()], true);
    await expect(register('second', [aModel({ tableName: 'first.notes' })])).rejects.toMatchObject({
      code: 'model.table-taken',
    });
    await expect(register('second', [aModel({ tableName: 'first.others' })], true)).rejects.toMatchObject({
      code: 'model.table-taken',
    });
    for (const [service, tableName] of [
      ['flight', 'notes'],
      ['waylog', 'notes'],
      ['second', 'log.events'],
      ['second', 'registry.models'],
      ['second', 'pg_catalog.pg_class'],
      ['second', 'public.notes'],
      ['second', 'rebuild_flight.waypoints'],
      ['second', 'verify_flight.waypoints'],
      ['verify_second', 'notes'],
      ['second', '_timescaledb_catalog.hypertable'],
    ] as const) {
      await expect(register(service, [aModel({ tableName })], true)).rejects.toMatchObject({
        code: 'service.reserved',
      });
    }
    expect((await registeredModels(query())).some(({ serviceName }) => serviceName === 'second')).toBe(false);
  });

  it('are refused with every bad field, and nothing is created', async () => {
    const bad = aModel({
      name: 'Notes',
      tableName: 'a"; drop schema flight; --',
      fields: { at: 'timestamptz); drop schema flight; --', 'x"y': 'text', n: 5 },
      primaryKey: ['nothing'],
      relationships: ['elsewhere'],
      timeColumn: 'n',
    });
    const refused = register('Third', [bad], true);
    await expect(refused).rejects.toMatchObject({ code: 'input.invalid' });
    const { data } = (await refused.catch((error: unknown) => error)) as {
      data: { errors: { field: string }[] };
    };
    expect([...new Set(data.errors.map(({ field }) => field))].sort()).toEqual([
      'models[0].fields.at',
      'models[0].fields.n',
      'models[0].fields.x"y',
      'models[0].name',
      'models[0].primaryKey',
      'models[0].relationships',
      'models[0].tableName',
      'serviceName',
    ]);
    await expect(
      register('third', [aModel(), aModel({ name: 'other', fields: { at: 'money' } })], true),
    ).rejects.toMatchObject({ code: 'input.invalid' });
    const { rows } = await database.pool.query(`select from pg_namespace where nspname = 'third'`);
    expect(rows).toEqual([]);
  });
});
