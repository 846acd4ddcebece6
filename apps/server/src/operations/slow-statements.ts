import pg from 'pg';
import { databaseCall } from '#lib/platform';
import type { SlowStatement } from './statistics.js';

const sql = `
  select left(regexp_replace(query, '\\s+', ' ', 'g'), 500) as statement, calls::integer as calls,
         mean_exec_time / 1000 as mean, max_exec_time / 1000 as max, total_exec_time / 1000 as total
    from pg_stat_statements
   where dbid = (select oid from pg_database where datname = current_database())
   order by total_exec_time desc
   limit 20`;

/**
 * The statements that have taken most time of the database since its statistics began, or why it cannot report them.
 */
export async function slowStatements(
  pool: pg.Pool,
): Promise<{ readonly statements: SlowStatement[]; readonly unavailable?: string }> {
  const { rows: found } = await databaseCall(() =>
    pool.query<{ there: boolean }>(
      `select exists (select from pg_extension where extname = 'pg_stat_statements') as there`,
    ),
  );
  if (!found[0]?.there) {
    return {
      statements: [],
      unavailable:
        'the extension pg_stat_statements has not been created in this database: add it to shared_preload_libraries, restart PostgreSQL, and run `create extension pg_stat_statements` and `waylog migrate`, which keeps it from readers',
    };
  }
  try {
    const { rows } = await pool.query<{
      statement: string;
      calls: number;
      mean: number;
      max: number;
      total: number;
    }>(sql);
    return {
      statements: rows.map(({ statement, calls, mean, max, total }) => ({
        statement,
        calls,
        meanTime: mean,
        maxTime: max,
        totalTime: total,
      })),
    };
  } catch (error) {
    // Created, but not loaded with the server: then the view cannot be read.
    if (error instanceof pg.DatabaseError && error.code === NOT_PRELOADED)
      return { statements: [], unavailable: `pg_stat_statements: ${error.message}` };
    throw error;
  }
}

/** object_not_in_prerequisite_state: "must be loaded via shared_preload_libraries". */
const NOT_PRELOADED = '55000';
