// Writes the snapshot of what the migrations create, for the validation of schemas and for the review of a migration:
// npm run snapshot
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { prepare, root, say, stoppable } from './lib/prepare.mjs';

await stoppable(async (signal) => {
  await prepare(signal);
  const { databaseUp } = await import('../dist/libs/timescale/src/index.js');
  const { snapshotOfMigrations, snapshotSource } = await import('../dist/migrations/index.js');
  const given = process.env.WAYLOG_TEST_DATABASE_URL;
  const { url } = given
    ? { url: given }
    : await databaseUp({ root, instance: 'dev', env: process.env, progress: say, signal });
  const file = join(root, 'migrations', 'schema-snapshot.ts');
  writeFileSync(file, snapshotSource(await snapshotOfMigrations(url)));
  say(`wrote ${file}`);
});
