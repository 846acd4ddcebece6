import { conflict, failureOf, invalidInput } from '#lib/platform';
import { stepDown, type DatabaseAccess } from '#lib/timescale';

/**
 * Like `stepDown`. Throws `config.invalid`, `database.unavailable` and `schema.missing` for a database that cannot be
 * used.
 */
export async function migratedDatabase(urls: {
  readonly databaseUrl: string;
  readonly projectorUrl?: string | undefined;
}): Promise<DatabaseAccess> {
  if (!urls.databaseUrl)
    throw invalidInput(
      [
        {
          field: 'databaseUrl',
          message:
            'is missing: give the URL of a migrated database, such as postgres://user:password@host:5432/waylog',
        },
      ],
      'config.invalid',
    );
  const access = await stepDown(urls).catch((error: unknown) => {
    throw failureOf(error);
  });
  if (access.isMigrated) return access;
  throw conflict(
    'schema.missing',
    'The database has no schema of Waylog yet. Run `waylog migrate` with its URL in DATABASE_URL, then start again.',
  );
}
