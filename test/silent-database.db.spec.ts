import { PostgresEventStore } from '../libs/event-store/src/postgres/postgres-event-store.js';
import { createPool, Listener } from '#lib/platform';
import { ScheduledVerification } from '#lib/projections';
import pg from 'pg';
import { testDatabase, type TestDatabase } from './support/database.js';
import { TcpProxy } from './faults/tcp-proxy.js';
import { tablesOf } from '#lib/waylog';
import { flight } from '#lib/flight';

// A database that stops answering closes nothing and refuses nothing. Only a query shows it.
describe('when the database stops answering', () => {
  let database: TestDatabase;
  let proxy: TcpProxy;
  let url: string;
  beforeEach(async () => {
    database = await testDatabase();
    const { hostname, port } = new URL(database.url);
    proxy = await TcpProxy.listen(() => ({ host: hostname, port: Number(port) }));
    const proxied = new URL(database.url);
    proxied.port = String(proxy.port);
    url = proxied.href;
  });
  afterEach(async () => {
    await proxy.close();
    await database.drop();
  });

  it('one connection without an answer ends all idle ones', async () => {
    const pool = createPool({
      ...{ connectionString: url, size: 5, applicationName: 'silence' },
      ...{ statementTimeoutMs: 1_000, connectTimeoutMs: 1_000 },
    });
    await Promise.all(Array.from({ length: 5 }, () => pool.query('select 1')));
    expect(pool.idleCount).toBe(5);
    proxy.set('black-hole');
    await expect(pool.query('select 1')).rejects.toThrow('Query read timeout');
    proxy.set('pass');
    // None of the five is used again, which would take as long once more.
    await expect(pool.query('select 1')).resolves.toBeDefined();
    expect(pool.idleCount).toBe(1);
    await pool.end();
  });

  it('a listener checks whether the server still answers, and connects again if not', async () => {
    const listener = new Listener(url, 'silence');
    const heard: string[] = [];
    let wake: () => void = () => undefined;
    const hears = async (text: string) => {
      while (heard.at(-1) !== text) await new Promise<void>((resolve) => (wake = resolve));
    };
    listener.on('silence', (payload) => {
      heard.push(payload);
      wake();
    });
    await hears('');
    proxy.set('black-hole');
    heard.length = 0;
    proxy.set('pass');
    // After it has connected again.
    await hears('');
    await database.pool.query(`select pg_notify('silence', 'again')`);
    await hears('again');
    await listener.close();
  }, 60_000);

  it('the database is set to notice dead clients itself, and to release their locks', async () => {
    const pool = createPool({
      ...{ connectionString: database.url, size: 1, applicationName: 'silence' },
      ...{ statementTimeoutMs: 1_000, connectTimeoutMs: 1_000 },
    });
    const { rows } = await pool.query<{ name: string; setting: string }>(
      `select name, setting from pg_settings where name like 'tcp_keepalives%' order by name`,
    );
    expect(rows.map(({ name, setting }) => `${name} ${setting}`)).toEqual([
      'tcp_keepalives_count 3',
      'tcp_keepalives_idle 10',
      'tcp_keepalives_interval 5',
    ]);
    await pool.end();
  });

  it('a stop does not wait for a verification that waits for the database', async () => {
    const held = new pg.Client({ connectionString: database.url });
    await held.connect();
    await held.query('begin; lock table projection.verifications');
    const verification = new ScheduledVerification({
      ...tablesOf(flight, new PostgresEventStore(database)),
      connectionString: database.url,
      log: { info: () => undefined, warn: () => undefined },
      share: 1,
    });
    verification.start();
    for (let waiting = 0; waiting === 0;) {
      const { rows } = await database.pool.query<{ n: number }>(
        `select count(*)::integer as n from pg_locks where not granted and relation = 'projection.verifications'::regclass`,
      );
      waiting = rows[0]?.n ?? 0;
    }
    await verification.stop();
    await held.end();
  }, 60_000);
});
