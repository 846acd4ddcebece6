import { IsInt, IsString, Min } from 'class-validator';
import { IsTimestamp, Optional, type Timestamp } from '#lib/platform';
import type { Query } from '../schema/catalog.js';
import { FIRST_JOB, policiesSql, schedulerRuns } from './job-owners.js';

/**
 * A job of TimescaleDB that fails or does not run, such as a policy; or, without a number, the scheduler of all of
 * them.
 */
export class JobTrouble {
  @Optional() @IsInt() @Min(1) readonly jobId?: number;
  /** Its kind: `retention`, `compression`, `refresh`, `scheduler`, or the name of its procedure. */
  @IsString() readonly job!: string;
  /** The table that it works on, with its schema. */
  @Optional() @IsString() readonly tableName?: string;
  /** The problem. */
  @IsString() readonly what!: string;
  /** What to do about it. */
  @IsString() readonly remedy!: string;
  /** When its last run began. */
  @Optional() @IsTimestamp() readonly lastRunAt?: Timestamp;
  @Optional() @IsTimestamp() readonly lastSuccessAt?: Timestamp;
  /** The error of the last failed run. */
  @Optional() @IsString() readonly lastError?: string;
}

interface JobRow {
  readonly job_id: number;
  readonly proc_name: string;
  readonly table_name: string | null;
  readonly owner: string;
  readonly owner_exists: boolean;
  readonly may_log_in: boolean;
  /** null if it works on no table. */
  readonly may_work: boolean | null;
  readonly table_owner: string | null;
  readonly scheduled: boolean;
  readonly failed: boolean;
  readonly failures: string | null;
  readonly last_run_at: Date | null;
  readonly last_success_at: Date | null;
  readonly last_error: string | null;
  readonly due_at: Date | null;
}

/** A job that has been due for this long waits for a worker that it does not get. */
const OVERDUE = '15 minutes';

const JOBS = `
  select j.job_id, j.proc_name, p.schema || '.' || p.name as table_name, coalesce(r.rolname, j.owner::text) as owner,
         r.oid is not null as owner_exists, coalesce(r.rolcanlogin, false) as may_log_in,
         case when r.oid is not null then pg_has_role(r.oid, p.relowner, 'usage') end as may_work,
         pg_get_userbyid(p.relowner) as table_owner, j.scheduled,
         coalesce(s.last_run_status = 'Failed', false) as failed, s.total_failures::text as failures,
         nullif(s.last_run_started_at, '-infinity') as last_run_at,
         nullif(s.last_successful_finish, '-infinity') as last_success_at,
         e.err_message as last_error,
         case when isfinite(j.next_start) and j.next_start < clock_timestamp() - interval '${OVERDUE}'
               and s.job_status is distinct from 'Running' then j.next_start end as due_at
    from timescaledb_information.jobs j
    left join timescaledb_information.job_stats s using (job_id)
    left join (${policiesSql}) p using (job_id)
    left join pg_roles r on r.oid = j.owner::oid
    left join lateral (
      select err_message from timescaledb_information.job_errors
       where job_errors.job_id = j.job_id and s.last_run_status = 'Failed' order by start_time desc limit 1
    ) e on true
   where j.job_id >= ${FIRST_JOB}
   order by j.job_id`;

/** The jobs that fail or do not run, and why: TimescaleDB itself does not report it. Empty if all is well. */
export async function jobTroubles(query: Query): Promise<JobTrouble[]> {
  const jobs = await query<JobRow>(JOBS);
  if (jobs.length === 0) return [];
  const [scheduler] = await query<{ runs: boolean | null; workers: number }>(
    // A role that cannot see other sessions does not know, and a replica has no scheduler.
    `select case when pg_has_role('pg_read_all_stats', 'usage') and not pg_is_in_recovery() then ${schedulerRuns} end as runs,
            current_setting('timescaledb.max_background_workers')::integer as workers`,
  );
  return [
    ...(scheduler?.runs === false ? [schedulerTrouble(scheduler.workers)] : []),
    ...jobs.flatMap((row) => {
      const trouble = troubleOf(row);
      return trouble ? [{ ...factsOf(row), ...trouble }] : [];
    }),
  ];
}

const schedulerTrouble = (workers: number): JobTrouble => ({
  job: 'scheduler',
  what: 'the scheduler of TimescaleDB does not run in this database: none of its policies does anything',
  remedy:
    workers === 0
      ? 'timescaledb.max_background_workers is 0 on this server: raise it, and restart PostgreSQL.'
      : '`waylog migrate` as a superuser starts it: so does a restart of PostgreSQL. A database that was renamed, or a job whose role was dropped, stops it.',
});

const NAMES: Readonly<Record<string, string>> = {
  policy_retention: 'retention',
  policy_compression: 'compression',
  policy_columnstore: 'compression',
  policy_refresh_continuous_aggregate: 'refresh',
};

const factsOf = (row: JobRow): Omit<JobTrouble, 'what' | 'remedy'> => ({
  jobId: row.job_id,
  job: NAMES[row.proc_name] ?? row.proc_name,
  ...(row.table_name !== null && { tableName: row.table_name }),
  ...(row.last_run_at && { lastRunAt: row.last_run_at.toISOString() }),
  ...(row.last_success_at && { lastSuccessAt: row.last_success_at.toISOString() }),
  ...(row.last_error !== null && { lastError: row.last_error }),
});

const HAND_OVER = '`waylog migrate` as a superuser hands the job to the owner of the table.';

/** The problem of a job; what makes all its runs fail comes first. */
function troubleOf(row: JobRow): Pick<JobTrouble, 'what' | 'remedy'> | undefined {
  const id = row.job_id;
  const handOver =
    row.table_name === null ? `Create it again as a role that exists: select delete_job(${id});` : HAND_OVER;
  if (!row.owner_exists)
    return { what: `it works as a role that was dropped (${row.owner})`, remedy: handOver };
  if (!row.may_log_in) return { what: `it works as ${row.owner}, who may not log in`, remedy: handOver };
  if (row.may_work === false)
    return {
      what: `it works as ${row.owner}, who may not change a table of ${row.table_owner ?? ''}`,
      remedy: handOver,
    };
  if (row.failed)
    return {
      what: `its last run failed, at ${row.last_run_at?.toISOString() ?? 'an unknown time'}: ${row.last_error ?? 'why is not to be seen as this role'} (${row.failures ?? 'some'} runs failed so far)`,
      remedy: `Put the reason right. It is tried again by itself; \`call run_job(${id});\` tries it now. timescaledb_information.job_errors has what went before.`,
    };
  if (!row.scheduled)
    return {
      what: 'it stands still: somebody has stopped it',
      remedy: `select alter_job(${id}, scheduled => true); or, if nobody needs it: select delete_job(${id});`,
    };
  if (row.due_at)
    return {
      what: `it was due at ${row.due_at.toISOString()} and has not run since`,
      remedy:
        'Raise timescaledb.max_background_workers and max_worker_processes, and restart PostgreSQL; its log says what there is too little of.',
    };
  return undefined;
}
