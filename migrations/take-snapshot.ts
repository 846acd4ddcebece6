import pg from 'pg';
import { queryOn, roleNames } from '#lib/timescale';
import { migrations as allMigrations } from './all.js';
import { runMigrations } from './migrate.js';
import { known, WAYLOG } from './migration.js';
import { takeSnapshot, type Snapshot } from './snapshot.js';

/** Runs all migrations on an empty database, one by one, and returns what each of them created. */
export async function snapshotOfMigrations(serverUrl: string): Promise<Snapshot> {
  const name = `waylog_snapshot_${process.pid}_${Date.now().toString(36)}`;
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const admin = new pg.Client({ connectionString: serverUrl });
  await admin.connect();
  try {
    await admin.query(`create database ${name}`);
    const client = new pg.Client({ connectionString: url.href });
    await client.connect();
    try {
      return await takeSnapshot(queryOn(client), known(allMigrations), async ({ revision }) => {
        const request = { serviceName: WAYLOG, targetRevision: revision, validationLevel: 'none' as const };
        const { success, errorMessage } = await runMigrations(url.href, request);
        if (!success) throw new Error(errorMessage);
      });
    } finally {
      await client.end();
    }
  } finally {
    await admin.query(`drop database if exists ${name} with (force)`);
    await admin.query(`drop role if exists ${roleNames(name).join(', ')}`);
    await admin.end();
  }
}

/** The file, before it is formatted. */
export const snapshotSource = (snapshot: Snapshot): string =>
  `import type { Snapshot } from './snapshot.js';

// Made by \`npm run snapshot\`; a test fails when it is not what the migrations make.
/* prettier-ignore */
export const snapshot: Snapshot = ${JSON.stringify(snapshot, undefined, 2)};
`;
