import { testDatabase } from '../../../test/support/database.js';
import { createPool } from './postgres.js';

// Without a listener of the pool's own, the first `error` of such a connection ends the process.
it('a connection of a pool that is lost between two statements fails the next one, and nothing else', async () => {
  const database = await testDatabase();
  const pool = createPool({
    connectionString: database.url,
    size: 1,
    applicationName: 'test',
    statementTimeoutMs: 0,
    connectTimeoutMs: 60_000,
  });
  const client = await pool.connect();
  expect(client.listenerCount('error')).toBeGreaterThan(0);
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  const ended = new Promise<void>((resolve) => client.once('end', resolve));
  await database.pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
  await ended;
  await expect(client.query('select 1')).rejects.toThrow();
  client.release(true);
  await pool.end();
  await database.drop();
});
