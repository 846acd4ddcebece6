import pg from 'pg';
import { flightTables } from '#lib/flight';
import {
  capabilities,
  Hypertables,
  jobTroubles,
  madeAccess,
  queryOn,
  roleNames,
  type JobTrouble,
} from '#lib/timescale';
import { checkDatabase } from '../apps/cli/src/doctor.js';
import { migrate } from '../migrations/index.js';
import { testServerUrl } from './support/database.js';
import { until, useServer } from './support/server.js';

// On an edition without jobs there is nothing to report, and the test expects exactly that.
describe('jobs of TimescaleDB that fail or do not run', () => {
  const server = useServer({ WAYLOG_ALERT_INTERVAL: '3600', WAYLOG_VERIFY_SHARE: '0' });
  let hasJobs = false;
  beforeAll(async () => {
    const { pool } = server.store;
    hasJobs = (await capabilities(pool)).scheduler.available;
    // The refresh of the rollups is not part of this test.
    await pool.query(`select delete_job(job_id) from timescaledb_information.jobs where job_id >= 1000`);
    await pool.query(
      `create procedure public.fails(job integer, config jsonb) language plpgsql as $$ begin raise exception 'no such bucket'; end $$`,
    );
  });
  const health = () => server.call('GET', '/v1/admin/health');
  const untilTroubles = async (is: (troubles: JobTrouble[]) => boolean): Promise<JobTrouble[]> =>
    (await until(health, ({ body }) => is(body.failingJobs as JobTrouble[]))).body
      .failingJobs as JobTrouble[];
  const metric = async () =>
    /^waylog_jobs_failing (.*)$/m.exec((await server.call('GET', '/metrics')).body as string)?.[1];
  const doctor = async () =>
    (await checkDatabase({ ...server.store }, process.env)).filter(({ check }) => check === 'jobs');
  /** As the projector: newer versions of TimescaleDB show errors only to the owner of the job. */
  const addJob = async (more = '') => {
    const client = new pg.Client({ connectionString: madeAccess(server.store.url, 'projector')?.url });
    await client.connect();
    try {
      const { rows } = await client.query<{ id: number }>(
        `select add_job('public.fails', '1 day'${more}) as id`,
      );
      return rows[0]?.id;
    } finally {
      await client.end();
    }
  };
  const deleteJob = (id: number | undefined) => server.store.pool.query('select delete_job($1)', [id]);

  it('do not exist while all is well', async () => {
    const { failingJobs, firing } = (await health()).body;
    expect(failingJobs).toEqual([]);
    expect(firing).not.toContain('JobsFailing');
    expect(await metric()).toBe('0');
    expect(await doctor()).toMatchObject(hasJobs ? [{ level: 'ok' }] : []);
  });

  it('are named by health, an alert, a metric and the doctor, with why and what to do', async () => {
    if (!hasJobs) return;
    const jobId = await addJob();
    const [trouble] = await untilTroubles((troubles) => troubles.length > 0);
    expect(trouble).toEqual({
      jobId,
      job: 'fails',
      what: expect.stringMatching(
        /^its last run failed, at 2.*Z: no such bucket \(\d+ runs failed so far\)$/,
      ),
      remedy: expect.stringContaining(`call run_job(${jobId})`),
      lastRunAt: expect.stringMatching(/Z$/),
      lastError: 'no such bucket',
    });
    expect((await health()).body.firing).toContain('JobsFailing');
    expect(await metric()).toBe('1');
    expect(await doctor()).toEqual([
      {
        check: 'jobs',
        level: 'problem',
        what: `fails (job ${jobId}): ${trouble?.what}`,
        remedy: trouble?.remedy,
      },
    ]);
    await deleteJob(jobId);
    expect(await untilTroubles((troubles) => troubles.length === 0)).toEqual([]);
  });

  it('include stopped jobs', async () => {
    if (!hasJobs) return;
    const jobId = await addJob(`, initial_start => now() + interval '1 day'`);
    expect((await health()).body.failingJobs).toEqual([]);
    await server.store.pool.query(`select alter_job($1, scheduled => false)`, [jobId]);
    expect((await health()).body.failingJobs).toMatchObject([
      { jobId, what: expect.stringMatching(/^it stands still/) as string },
    ]);
    await deleteJob(jobId);
  });

  it('include policies whose owner does not exist or lacks rights; a migration fixes them', async () => {
    if (!hasJobs) return;
    const { pool, url } = server.store;
    const [, projector] = roleNames(new URL(url).pathname.slice(1));
    const former = `waylog_test_former_${process.pid}`;
    const hypertables = new Hypertables(pool, flightTables);
    const broken = async () =>
      (await jobTroubles(queryOn(pool))).filter(({ what }) => !what.startsWith('its last run failed'));
    await pool.query(`create role ${former} login`);
    await pool.query(`alter table flight.heading_history owner to ${former}`);
    await hypertables.change('heading_history', { retentionPeriod: '3650 days' });
    await pool.query(`alter table flight.heading_history owner to ${projector}`);
    const { rows } = await pool.query(
      `select from timescaledb_information.jobs where pg_get_userbyid(owner::oid) = $1`,
      [former],
    );
    // Newer versions of TimescaleDB change the owner of the policy themselves.
    const [expected] =
      rows.length > 0 ? [`works as ${former}, who may not change a table of ${projector}`] : [];
    const says = async (what: string | undefined) => {
      expect((await broken()).filter(({ job }) => job === 'retention')).toMatchObject(
        what === undefined
          ? []
          : [{ tableName: 'flight.heading_history', what: expect.stringContaining(what) as string }],
      );
      const { retention } = await hypertables.get('heading_history');
      expect(retention.lastError ?? 'none').toMatch(what === undefined ? /^none$|^its last run failed/ : /./);
    };
    await says(expected);
    // From another database, where TimescaleDB does not see what is still needed here.
    const client = new pg.Client({ connectionString: testServerUrl() });
    await client.connect();
    await client.query(`drop role ${former}`);
    await client.end();
    await says(expected && 'works as a role that was dropped');
    await migrate(url);
    await untilTroubles((troubles) => troubles.every(({ job }) => job !== 'scheduler'));
    await says(undefined);
  });

  it('are all jobs when a rename has stopped the scheduler; a migration starts it', async () => {
    if (!hasJobs) return;
    const { pool, url } = server.store;
    // The effect of a rename, without renaming the database on the server.
    await pool.query(`select _timescaledb_functions.stop_background_workers()`);
    expect((await health()).body.failingJobs).toContainEqual(
      expect.objectContaining({
        job: 'scheduler',
        remedy: expect.stringContaining('waylog migrate') as string,
      }),
    );
    expect((await new Hypertables(pool, flightTables).get('heading_history')).retention.lastError).toMatch(
      /scheduler of TimescaleDB does not run/,
    );
    await migrate(url);
    await untilTroubles((troubles) => troubles.every(({ job }) => job !== 'scheduler'));
  });
});
