import { execFile } from 'node:child_process';
import { flight } from '#lib/flight';
import { ADMIN_KEY } from './support/admin-key.js';
import { testDatabase, type TestDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import { failing } from './support/failing-context.js';
import { startWaylog } from './support/waylog.js';

const WHY = 'The sensor of the context is not plugged in.';

/** How a program of an application ends whose context does not start. It is killed, and has no code, if it does not. */
const ended = (url: string, ...args: string[]): Promise<{ code: unknown; said: string }> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      ['--import', './dist/test/support/with-failing-context.js', ...args],
      {
        env: {
          ...process.env,
          DATABASE_URL: url,
          PORT: '0',
          HOST: '127.0.0.1',
          WAYLOG_ADMIN_KEY: ADMIN_KEY,
          FAILING_KEEPS_OPEN: '1',
        },
        timeout: 60_000,
      },
      (error, out, err) => resolve({ code: error ? error.code : 0, said: out + err }),
    );
  });

describe('an application that does not start', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  const sessions = async () => {
    const { rows } = await database.pool.query<{ name: string }>(
      `select application_name as name from pg_stat_activity
        where datname = current_database() and application_name like 'failing%'`,
    );
    return rows.map(({ name }) => name);
  };

  it('closes what it has opened', async () => {
    await expect(
      startWaylog(database, { contexts: [flight, failing], applicationName: 'failing' }),
    ).rejects.toThrow(WHY);
    await eventually(async () => (await sessions()).length === 0, sessions);
  });

  it.each([
    ['a command', ['dist/apps/cli/src/main.js', 'parked']],
    ['the server', ['dist/apps/server/src/main.js']],
  ])('ends as %s, with its exit code', async (_, args) => {
    const { code, said } = await ended(database.url, ...args);
    expect(code).toBe(1);
    expect(said).toContain(WHY);
  });
});
