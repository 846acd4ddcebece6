import { execFile } from 'node:child_process';
import { migrate } from '../migrations/index.js';
import { testDatabase, type TestDatabase } from './support/database.js';
import { camera } from './support/toy-context.js';

describe('an application without a context that the database knows', () => {
  let database: TestDatabase;
  const run = (...args: string[]): Promise<{ code: unknown; out: string; err: string }> =>
    new Promise((resolve) => {
      execFile(
        process.execPath,
        ['dist/apps/cli/src/main.js', ...args],
        { env: { ...process.env, DATABASE_URL: database.url } },
        (error, out, err) => resolve({ code: error ? error.code : 0, out, err }),
      );
    });
  const doctor = async (check: string) => {
    const { findings } = JSON.parse((await run('doctor', '--json')).out) as {
      findings: readonly { readonly check: string }[];
    };
    return findings.filter((finding) => finding.check === check);
  };

  beforeAll(async () => {
    database = await testDatabase();
    await migrate(database.url, { contexts: [camera] });
  });
  afterAll(() => database.drop());

  it('says which tables are left, until they are dropped', async () => {
    await database.pool.query(
      `create table flight.landings (id text primary key);
       insert into projection.checkpoints (projector, projection, version, position) values ('flight', 'landings', 1, '0')`,
    );
    const ofLandings = { what: expect.stringMatching(/^the table flight.landings/) as string };
    // As the tables of the flight are in every database: nothing in them is not erased.
    expect(await doctor('contexts')).toMatchObject([ofLandings]);
    await database.pool.query(`insert into camera.flights values ('c1', 'camera', 'Left')`);
    expect(await doctor('contexts')).toMatchObject([
      {
        level: 'warning',
        what: expect.stringMatching(/^the schema camera is of a context that this application/) as string,
        remedy: expect.stringMatching(/drop schema camera, rebuild_camera, verify_camera cascade/) as string,
      },
      {
        level: 'warning',
        what: expect.stringMatching(/^the table flight.landings is not declared any more/) as string,
      },
    ]);
    await database.pool.query(`drop schema camera, rebuild_camera, verify_camera cascade`);
    await database.pool.query(`drop table flight.landings`);
    expect(await doctor('contexts')).toMatchObject([{ level: 'ok' }]);
  });

  it('closes the findings of what is not declared any more, and of nothing else', async () => {
    await database.pool.query(
      `insert into projection.integrity_findings
         (projector, projection, key, position, rows_found, rows_expected, found_by)
       values ('camera', 'readings', 'camera-f1', '1', 1, 2, 'test'), ('flight', 'waypoints', 'f1', '1', 1, 2, 'test')`,
    );
    expect(await doctor('integrity')).toMatchObject([
      { level: 'problem', what: '1 stream of which a table is not what the log says' },
      { level: 'warning', remedy: 'If it is gone for good: waylog integrity close camera.readings' },
    ]);
    expect((await run('integrity', '--open')).out).toMatch(
      /camera\.readings camera-f1: .*`.*waylog integrity close camera\.readings`/,
    );
    expect(await run('integrity', 'close', 'flight.waypoints')).toMatchObject({ code: 2 });
    expect(await run('integrity', 'close', 'flight')).toMatchObject({ code: 2 });
    expect(await run('integrity', 'close', 'camera')).toMatchObject({
      code: 0,
      out: '1 finding of camera closed\n',
    });
    expect(await doctor('integrity')).toMatchObject([{ level: 'problem' }]);
  });
});
