import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { flightProjections } from '#lib/flight';
import { testDatabase, type TestDatabase } from './support/database.js';
import { serverProcess } from './support/server-process.js';
import { aFlight, aFrame } from './support/samples.js';

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The command line as an operator calls it, built by `npm test`. */
const waylog = (databaseUrl: string | undefined, ...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    const env = { ...process.env };
    if (databaseUrl === undefined) delete env['DATABASE_URL'];
    else env['DATABASE_URL'] = databaseUrl;
    execFile(
      process.execPath,
      ['dist/apps/cli/src/main.js', ...args],
      { env, maxBuffer: 16 * 1024 * 1024 },
      (error, out, err) =>
        resolve({ code: error ? (typeof error.code === 'number' ? error.code : -1) : 0, out, err }),
    );
  });

describe('the command line', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());
  const run = (...args: string[]) => waylog(database.url, ...args);
  const json = async (...args: string[]) => {
    const { out, code } = await run('--json', ...args);

    return { code, result: JSON.parse(out) };
  };

  it('ends with 2 on wrong usage, and with 0 after help', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(await run('--version')).toMatchObject({ code: 0, out: `${version}\n` });
    expect(await run('--help')).toMatchObject({
      code: 0,
      out: expect.stringContaining('Begin with') as string,
    });
    expect(await run('nothing')).toMatchObject({
      code: 2,
      err: expect.stringContaining('unknown command') as string,
    });
    expect((await run('verify', '--no-such-option')).code).toBe(2);
    for (const action of ['discard', 'accept'])
      expect((await run('parked', action, 'flight-a')).err).toMatch(/--reason/);
  });

  it('lists who may call what', async () => {
    const { code, out } = await run('routes');
    expect(code).toBe(0);
    expect(out).toMatch(/^everybody +GET +\/health\/live$/m);
    expect(out).toMatch(/^admin +POST +\/v1\/flights\/:id\/erase$/m);
  });

  it('erases what is sensitive of a flight, once that is said twice', async () => {
    await run('simulate', '--frames', '2', '--id', 'private');
    expect(await run('erase', 'flight', 'private')).toMatchObject({ code: 2 });
    expect(await run('erase', 'camera', 'private', '--yes')).toMatchObject({ code: 2 });
    const erased = await run('erase', 'flight', 'private', '--yes');
    expect(erased.err + erased.out).toMatch(/erased flight private: its key is deleted/);
    const { rows } = await database.pool.query(`select name from flight.flights where id = 'private'`);
    expect(rows).toEqual([{ name: 'erased' }]);
    expect((await run('erase', 'flight', 'nobody', '--yes')).err).toMatch(/no flight nobody/);
  });

  it('shows invisible characters in its output as escapes, in text, JSON and errors', async () => {
    const name = 'k\u009b31m\u202e\u200b';
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    // As from before such names were refused.
    await client.query(
      `insert into access.api_keys (id, name, role, hash) values ('0123456789ab', $1, 'reader', sha256('x'))`,
      [name],
    );
    const list = await run('keys', 'list');
    expect(list).toMatchObject({
      code: 0,
      out: expect.stringContaining('k\\u009b31m\\u202e\\u200b') as string,
    });
    const listed = await run('--json', 'keys', 'list');
    expect(listed.out).toContain('k\\u009b31m\\u202e\\u200b');
    expect(JSON.parse(listed.out)).toMatchObject({ keys: [{ name }] });
    const wrong = [await run(`x\u009b`), await run('keys', 'create', '--name', name, '--role', 'reader')];
    for (const { code, err } of wrong) expect({ code, err }).not.toMatchObject({ code: 0 });
    for (const { out, err } of [list, listed, ...wrong])
      expect(out + err).not.toMatch(/[\u0080-\u009f\u202e\u200b]/);
    await client.query(`delete from access.api_keys where id = '0123456789ab'`);
    await client.end();
  });

  it("runs PostgreSQL's programs in the version of the server that a URL names", async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const { rows } = await client.query<{ major: string }>(
      `select (current_setting('server_version_num')::int / 10000)::text as major`,
    );
    await client.end();
    const { code, out, err } = await run('db', 'run', 'pg_dump', '--', '--version');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain(`pg_dump (PostgreSQL) ${rows[0]?.major}.`);
    expect(await run('db', 'run', 'pg_nothing')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/pg_nothing/) as string,
    });
  });

  it('refuses a URL that can be read in two ways', async () => {
    const { code, err } = await waylog(`${database.url}?sslmode=verify-full&sslmode=disable`, 'keys', 'list');
    expect({ code, err }).toEqual({
      code: 2,
      err: expect.stringContaining('says sslmode more than once') as string,
    });
  });

  it('removes a registered model', async () => {
    const definition = JSON.stringify({
      ...{
        name: 'notes',
        serviceName: 'notebook',
        schema: 'notebook',
        table: 'notes',
        columns: { id: 'text' },
      },
      ...{ key: ['id'], relationships: [], sourceFile: 'notes.ts' },
    });
    const insert = `insert into registry.models values ('notebook', 'notes', $1)`;
    await database.pool.query(insert, [definition]);
    expect((await run('schema', 'models')).out).toContain('notebook.notes');
    expect(await run('schema', 'remove-model', 'notebook', 'notes')).toMatchObject({ code: 0 });
    expect((await run('schema', 'models')).out).not.toContain('notebook');
    const again = await run('schema', 'remove-model', 'notebook', 'notes');
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining('no model notes') as string });
  });

  it('says what to do when the database is not there', async () => {
    const { code, err } = await waylog('postgres://127.0.0.1:1/nothing', 'projections');
    expect(code).toBe(1);
    expect(err).toMatch(/to do:/);
  });

  it('shows projections with and without a leading process', async () => {
    const server = await serverProcess(database.url);
    await server.call('POST', '/v1/flights', aFlight('cli', 3));
    const { body } = await server.call('PUT', '/v1/flights/cli/frames/1', aFrame(1));
    await server.call('GET', '/v1/flights/cli', undefined, { 'waylog-min-position': String(body.position) });
    const { result } = await json('projections');
    // With the rollup.
    expect(result.projections).toHaveLength(flightProjections.length + 1);
    expect(result.projections[0]).toMatchObject({ position: body.position, lagEvents: 0 });
    await server.end('SIGTERM');
    expect((await json('projections', 'list')).result.projections[0]).toMatchObject({ state: 'stopped' });
    expect((await run('projections')).out).toMatch(/^projection +state +position +lag/);
  });

  it('pauses with a reason, and resumes', async () => {
    expect((await run('projections', 'pause')).code).toBe(2);
    expect((await run('projections', 'pause', '--reason', 'a test')).code).toBe(0);
    expect((await json('projections')).result.projections[0]).toMatchObject({
      state: 'paused',
      pauseReason: 'a test',
    });
    expect((await run('projections', 'resume')).code).toBe(0);
  });

  it('finishes its work when its output is closed', async () => {
    const child = spawn(process.execPath, ['dist/apps/cli/src/main.js', 'rebuild', 'waypoints'], {
      env: { ...process.env, DATABASE_URL: database.url },
    });
    child.stdout.destroy();
    child.stderr.destroy();
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('finds a row that was broken by hand (3), repairs it (0), and remembers that', async () => {
    expect((await run('verify')).code).toBe(0);
    await database.pool.query(`update flight.waypoints set lat = 0 where flight_id = 'cli' and id = 'w1'`);
    const found = await run('verify');
    expect(found.code).toBe(3);
    expect(found.out).toMatch(/waypoints .* DIFFERENT\n {2}cli: 3 rows found, 3 expected/);
    expect((await json('integrity', '--open')).result.findings).toMatchObject([
      { projection: 'waypoints', key: 'cli' },
    ]);
    expect((await run('verify', '--repair')).code).toBe(0);
    expect((await run('verify', 'waypoints')).code).toBe(0);
    expect((await run('integrity')).out).toMatch(/waypoints cli: .*; repaired /);
  });

  it('rebuilds, and refuses an unknown table', async () => {
    const { code, result } = await json('rebuild', 'waypoints', 'frame_results');
    expect(code).toBe(0);
    expect(result.tables).toMatchObject([
      { projection: 'waypoints', identical: true },
      { projection: 'frame_results', identical: true },
    ]);
    expect(await run('rebuild', 'nothing')).toMatchObject({
      code: 2,
      err: expect.stringContaining('There are flights') as string,
    });
  });

  it('runs the doctor: only warnings here, a problem if the schema is behind or a variable is bad', async () => {
    const { code, result } = await json('doctor');
    expect(code).toBe(0);
    expect(result.findings.map(({ check }: { check: string }) => check)).toEqual(
      expect.arrayContaining([
        'node',
        'configuration',
        'disk',
        'database',
        'schema',
        'durability',
        'clock',
        'projections',
      ]),
    );
    const keys = async () => (await run('doctor')).out.split('\n').filter((line) => /^\S+ +keys /.test(line));
    expect(await keys()).toEqual([expect.stringMatching(/^ok .*none yet/)]);
    const { result: made } = await json(
      'keys',
      'create',
      '--name',
      'relay',
      '--role',
      'operator',
      '--expires',
      '3d',
    );
    expect(await keys()).toEqual([
      expect.stringMatching(/^ok .*1 valid, 0 of them admin/),
      expect.stringMatching(/^WARNING .*relay \([0-9a-f]{12}\) ends at 20/),
    ]);
    await run('keys', 'revoke', made.id as string);
    expect(await keys()).toEqual([expect.stringMatching(/^WARNING .*none of 1 is valid/)]);
    await database.pool.query(
      `delete from waylog_migrations where id = (select max(id) from waylog_migrations)`,
    );
    const behind = await run('doctor');
    expect(behind.code).toBe(1);
    expect(behind.out).toMatch(/PROBLEM {2}schema .*lacks/);
    expect((await run('projections')).code).toBe(1);
    expect((await run('projections')).err).toMatch(/waylog migrate/);
  });
});
