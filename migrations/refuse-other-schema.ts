import { unavailable } from '#lib/platform';
import { newerThanCode, schemaState } from './migrate.js';

/**
 * Tables that differ from what the code expects would be written wrong, so nothing starts on them. Throws
 * `schema.newer-than-code` and `schema.behind`.
 */
export async function refuseOtherSchema(databaseUrl: string): Promise<void> {
  const { missing, unknown } = await schemaState(databaseUrl);
  if (unknown.length > 0) throw newerThanCode(unknown);
  if (missing.length > 0) {
    throw unavailable(
      'schema.behind',
      `The database lacks ${missing.length} migrations (${missing.join(', ')}). Run \`waylog migrate\` and start again.`,
    );
  }
}
