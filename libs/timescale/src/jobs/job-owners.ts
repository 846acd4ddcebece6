import type { Query } from '../schema/catalog.js';

/** TimescaleDB numbers from here on what is not its own. */
export const FIRST_JOB = 1_000;

/** Policies, with the table or the continuous aggregate that each is about. */
export const policiesSql = `
  select j.job_id, j.owner::oid as owner, c.relowner, n.nspname as schema, c.relname as name
    from timescaledb_information.jobs j
    left join timescaledb_information.continuous_aggregates a
      on (a.materialization_hypertable_schema, a.materialization_hypertable_name) = (j.hypertable_schema, j.hypertable_name)
    join pg_namespace n on n.nspname = coalesce(a.view_schema, j.hypertable_schema)
    join pg_class c on c.relnamespace = n.oid and c.relname = coalesce(a.view_name, j.hypertable_name)`;

/**
 * Makes each policy the job of whoever owns its table. A policy works as who owned it when the policy was made, and in some
 * versions of TimescaleDB that stays so when the table gets another owner: it is refused then, and where that role is
 * dropped, the scheduler ends. No function of TimescaleDB changes an owner, so it takes a superuser.
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
 * Takes the other jobs from roles that are about to be dropped. They stand still from then on: to work as whoever is
 * logged in would be more than they may.
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

/** Until it is dropped, nothing happens in this database by itself. */
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

/** A condition: the scheduler of this database runs. Whoever may not look into other sessions never sees it. */
export const schedulerRuns = `exists (select from pg_stat_activity
    where datname = current_database() and backend_type = 'TimescaleDB Background Worker Scheduler')`;

/**
 * Starts the scheduler of this database where it does not run. `alter database ... rename` stops it, and so does a job whose
 * owner was dropped, and nothing but a restart of the whole server starts it again.
 *
 * @returns why it does not run, where there is something for it to do
 */
export async function startScheduler(query: Query): Promise<string | undefined> {
  const [it] = await query<{ needed: boolean; super: boolean; name: string; workers: number }>(
    `select exists (select from timescaledb_information.jobs where job_id >= ${FIRST_JOB} and scheduled)
              and not ${schedulerRuns} as needed,
            (select rolsuper from pg_roles where rolname = current_user) as super, current_user as name,
            current_setting('timescaledb.max_background_workers')::integer as workers`,
  );
  if (!it?.needed) return undefined;
  // Who is no superuser may not have seen it.
  if (!it.super) return undefined;
  const [answer] = await query<{ started: boolean }>(
    'select _timescaledb_functions.start_background_workers() as started',
  );
  return answer?.started === true
    ? undefined
    : `The scheduler of TimescaleDB does not start in this database. Raise timescaledb.max_background_workers ` +
        `(${it.workers}; one a database, and one for each job that runs at a time) and max_worker_processes, and restart PostgreSQL.`;
}
