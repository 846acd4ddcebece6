import { unavailable } from '#lib/platform';
import { schemaState } from './migrate.js';

/**
 * Tables that are not what the code expects would be written wrong, so nothing starts on them. Throws
 * `schema.newer-than-code` and `schema.behind`.
 */
export async function refuseOtherSchema(databaseUrl: string): Promise<void> {
  const { missing, unknown } = await schemaState(databaseUrl);
  if (unknown.length > 0) {
    throw unavailable(
      'schema.newer-than-code',
      `The database has migrations that this version of Waylog does not know (${unknown.join(', ')}): a newer version ` +
        `has been here. Deploy that version, or take its migrations back with it.`,
    );
  }
  if (missing.length > 0) {
    throw unavailable(
      'schema.behind',
      `The database lacks ${missing.length} migrations (${missing.join(', ')}). Run \`waylog migrate\` and start again.`,
    );
  }
}
