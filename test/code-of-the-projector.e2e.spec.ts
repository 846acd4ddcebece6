import pg from 'pg';
import { madeAccess } from '#lib/timescale';
import { aFlight, aFrame } from './support/samples.js';
import { until, useServer } from './support/server.js';

// The role that keeps the tables owns them, and can make PostgreSQL run code when one is read: a policy, a view, a
// generated column. That code runs as the reading role, which must not have more rights.
describe('code that the projector’s role has put into a table', () => {
  const server = useServer({ WAYLOG_VERIFY_SHARE: '0' });

  it('never runs as a role that can append events, create keys or see those of flights', async () => {
    const created = await server.call('POST', '/v1/flights', aFlight('trap', 2));
    expect(created.status).toBe(201);
    const { body: saved } = await server.call('PUT', '/v1/flights/trap/frames/0', aFrame(0));
    const projector = new pg.Client({
      connectionString: madeAccess(server.store.url, 'projector')?.url,
    });
    await projector.connect();
    try {
      await projector.query(`
        create table flight.ran_as (name text primary key);
        grant select, insert on flight.ran_as to public;
        create function flight.trap() returns boolean language plpgsql as $$
          begin
            insert into flight.ran_as values (current_user) on conflict do nothing;
            return true;
          end $$;
        grant execute on function flight.trap() to public`);
      const tables = await projector.query<{ name: string }>(
        `select tablename as name from pg_tables where schemaname = 'flight' and tablename <> 'ran_as'`,
      );
      for (const { name } of tables.rows)
        await projector.query(
          `alter table flight."${name}" enable row level security, force row level security;
           create policy trap on flight."${name}" using (flight.trap())`,
        );
      const paths = [
        '/v1/flights',
        '/v1/flights/trap',
        '/v1/flights/trap/frames',
        '/v1/flights/trap/waypoints',
        '/v1/flights/trap/frame-minutes',
        '/v1/flights/trap/state',
        '/v1/processing-history',
        '/v1/admin/projections',
        '/v1/admin/health',
        '/v1/admin/hypertables',
        '/health/ready',
      ];
      const fresh = { 'waylog-min-position': String(saved.position) };
      for (const path of paths) await server.call('GET', path, undefined, fresh);
      const sql = { query: 'select id from flights', serviceName: 'test', useCache: true };
      await server.call('POST', '/v1/queries', sql);
      await server.call('POST', '/v1/flights/trap/erase');
      const { body: job } = await server.call('POST', '/v1/admin/verifications', {});
      await until(
        () => server.call('GET', `/v1/admin/jobs/${String(job.jobId)}`),
        ({ body: { state } }) => state !== 'running',
      );
      const { rows } = await server.store.pool.query<{ name: string }>(`select name from flight.ran_as`);
      expect(rows.map(({ name }) => name)).toEqual([madeAccess(server.store.url, 'projector')?.role]);
    } finally {
      await projector.end();
    }
  });
});
