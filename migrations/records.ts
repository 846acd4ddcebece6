import type { Query } from '#lib/timescale';
import type { KnownMigration } from './migration.js';
import { parseName } from './migration.js';
import type { MigrationInfo } from './messages.js';

/** A migration that a database has. */
export interface AppliedMigration {
  readonly name: string;
  readonly revision: string;
  /** RFC 3339; null if it ran before times were recorded. */
  readonly appliedAt: string | null;
}

/** In the order of their numbers. Changes nothing, and works on a database that was never migrated. */
export async function appliedMigrations(query: Query): Promise<AppliedMigration[]> {
  const [table] = await query<{ found: string | null }>(
    `select to_regclass('waylog_migrations')::text as found`,
  );
  if (!table?.found) return [];
  // By way of JSON, because a table that TypeORM alone has written to has no applied_at.
  return query<AppliedMigration>(
    `select name, timestamp::text as revision,
            to_char((to_jsonb(m) ->> 'applied_at')::timestamptz at time zone 'UTC',
                    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as "appliedAt"
       from waylog_migrations m order by timestamp, id`,
  );
}

/** The table as TypeORM creates it, plus the time. */
export async function ensureRecords(query: Query): Promise<void> {
  await query(
    `create table if not exists waylog_migrations (
       id serial primary key, "timestamp" bigint not null, name character varying not null)`,
  );
  const [column] = await query(
    `select from pg_attribute
      where attrelid = 'waylog_migrations'::regclass and attname = 'applied_at' and not attisdropped`,
  );
  if (column) return;
  await query(`alter table waylog_migrations add applied_at timestamptz`);
  await query(`alter table waylog_migrations alter applied_at set default clock_timestamp()`);
}

export const recordApplied = (query: Query, { name, revision }: KnownMigration) =>
  query(`insert into waylog_migrations ("timestamp", name) values ($1, $2)`, [revision, name]);

export const recordReverted = (query: Query, { name }: KnownMigration) =>
  query(`delete from waylog_migrations where name = $1`, [name]);

/** The migrations of the code and of the database, in one list. */
export function migrationInfos(
  code: readonly KnownMigration[],
  applied: readonly AppliedMigration[],
): MigrationInfo[] {
  const current = applied.at(-1)?.name;
  const has = new Map(applied.map((each) => [each.name, each]));
  const unknown = applied
    .filter(({ name }) => !code.some((each) => each.name === name))
    .map(({ name, revision }) => ({ ...parseName(name), name, revision, serviceName: 'unknown' }));
  return [...code, ...unknown]
    .sort((a, b) => Number(a.revision) - Number(b.revision))
    .map((each) => {
      const { name, revision, serviceName, description } = each;
      const rewrites = 'migration' in each ? each.migration.rewrites : undefined;
      const appliedAt = has.get(name)?.appliedAt;
      return {
        revision,
        serviceName,
        description,
        isApplied: has.has(name),
        ...(rewrites !== undefined && { rewrites }),
        ...(appliedAt && { appliedAt }),
        isCurrent: name === current,
      };
    });
}
