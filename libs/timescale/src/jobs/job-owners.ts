import type { Query } from '../schema/catalog.js';

/** TimescaleDB numbers jobs that are not its own from here on. */
export const FIRST_JOB = 1_000;

/** Policies, with the table or the continuous aggregate of each. */
export const policiesSql = `
  select j.job_id, j.owner::oid as owner, c.relowner, n.nspname as schema, c.relname as name
    from timescaledb_information.jobs j
    left join timescaledb_information.continuous_aggregates a
      on (a.materialization_hypertable_schema, a.materialization_hypertable_name) = (j.hypertable_schema, j.hypertable_name)
    join pg_namespace n on n.nspname = coalesce(a.view_schema, j.hypertable_schema)
    join pg_class c on c.relnamespace = n.oid and c.relname = coalesce(a.view_name, j.hypertable_name)`;

/**
 * Gives each policy to the owner of its table. A policy runs as the role that owned it when the policy was created, and
 * in some versions of TimescaleDB that stays so when the table gets another owner. The policy is then refused, and if
 * that role is dropped, the scheduler stops. No function of TimescaleDB changes an owner, so it takes a superuser.
 *
 * @param schemas of the tables
 * @returns whether there was anything to change
 */
export async function givePolicies(query: Query, schemas?: readonly string[]): Promise<boolean> {
  const stray = await query<{ job_id: number; owner: string }>(
    `select job_id, relowner::text as owner from (${policiesSql}) p
      where owner <> relowner and ($1::text[] is null or schema = any ($1))`,
    [schemas ?? null],
  );
  for (const { job_id, owner } of stray) await changeJob(query, job_id, `owner = ${owner}::oid::regrole`);
  return stray.length > 0;
}

/**
 * Takes the other jobs from roles that are about to be dropped. They no longer run from then on: as the current user
 * they would have too many rights.
 *
 * @returns the numbers of those jobs
 */
export async function stopJobsOf(query: Query, roles: readonly string[]): Promise<number[]> {
  const jobs = await query<{ job_id: number }>(
    `select job_id from timescaledb_information.jobs where pg_get_userbyid(owner::oid) = any ($1) order by 1`,
    [roles],
  );
  for (const { job_id } of jobs)
    await changeJob(query, job_id, 'owner = current_user::regrole, scheduled = false');
  return jobs.map(({ job_id }) => job_id);
}

/** No job runs in this database until it is dropped. */
export const stopAllJobs = async (query: Query): Promise<void> => {
  const jobs = await query<{ job_id: number }>(`select job_id from timescaledb_information.jobs`);
  for (const { job_id } of jobs) await changeJob(query, job_id, 'scheduled = false');
};

async function changeJob(query: Query, id: number, assignment: string): Promise<void> {
  const [jobs] = await query<{ name: string }>(
    `select coalesce(to_regclass('_timescaledb_catalog.bgw_job'), to_regclass('_timescaledb_config.bgw_job'))::text as name`,
  );
  await query(`update ${jobs?.name ?? ''} set ${assignment} where id = $1`, [id]);
}

/** A condition: the scheduler of this database runs. A role that cannot see other sessions never sees it. */
export const schedulerRuns = `exists (select from pg_stat_activity
    where datname = current_database() and backend_type = 'TimescaleDB Background Worker Scheduler')`;

/**
 * Starts the scheduler of this database if it does not run. `alter database ... rename` stops it, and so does a job
 * whose owner was dropped. After that only a restart of the whole server starts it again.
 *
 * @returns why it does not run, if there is a job for it to run
 */
export async function startScheduler(query: Query): Promise<string | undefined> {
  const [it] = await query<{ needed: boolean; super: boolean; name: string; workers: number }>(
    `select exists (select from timescaledb_information.jobs where job_id >= ${FIRST_JOB} and scheduled)
              and not ${schedulerRuns} as needed,
            (select rolsuper from pg_roles where rolname = current_user) as super, current_user as name,
            current_setting('timescaledb.max_background_workers')::integer as workers`,
  );
  if (!it?.needed) return undefined;
  // A user that is not a superuser may be unable to see it.
  if (!it.super) return undefined;
  const [answer] = await query<{ started: boolean }>(
    'select _timescaledb_functions.start_background_workers() as started',
  );
  return answer?.started === true
    ? undefined
    : `The scheduler of TimescaleDB does not start in this database. Raise timescaledb.max_background_workers ` +
        `(${it.workers}; one a database, and one for each job that runs at a time) and max_worker_processes, and restart PostgreSQL.`;
}
