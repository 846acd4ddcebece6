// Imported after `prepare`: it needs dist/.
import { once } from 'node:events';
import { root, say } from './prepare.mjs';

/** Starts the database of this checkout and migrates it. Returns its URL. Throws when `signal` aborts. */
export async function migratedDatabase(signal) {
  const { databaseUp } = await import('../../dist/libs/timescale/src/index.js');
  const { mayMigrate, migrate } = await import('../../dist/migrations/index.js');
  const { contexts } = await import('../../dist/apps/contexts.js');
  const { readSecrets } = await import('../../dist/libs/platform/src/index.js');
  const progress = (line) => say(line);
  const { url } = await databaseUp({
    ...{ root, instance: 'dev', progress, signal },
    env: readSecrets(process.env).env,
  });
  // A process with the application role need not migrate, and cannot. An interrupted migration is one transaction:
  // PostgreSQL rolls it back.
  const migrated = mayMigrate(url).then((may) => may && migrate(url, { progress, contexts }));
  await Promise.race([migrated, once(signal, 'abort')]);
  signal.throwIfAborted();
  return url;
}
