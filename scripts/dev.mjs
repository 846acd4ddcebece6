// A server that restarts when a file is saved: npm run dev [-- options of `nest start`]
import { exitCodeOf, prepare, say, stoppable } from './lib/prepare.mjs';

await stoppable(async (signal) => {
  await prepare(signal);
  const { migratedDatabase } = await import('./lib/database.mjs');
  const url = await migratedDatabase(signal);
  say('starting the server; it starts again when a file is saved (Ctrl-C stops it; the database stays up)');
  const nest = ['node_modules/@nestjs/cli/bin/nest.js', 'start', 'server', '--watch'];
  process.exitCode = await exitCodeOf(process.execPath, [...nest, ...process.argv.slice(2)], {
    signal,
    env: { WAYLOG_TYPED: './waylog', ...(process.env.DATABASE_URL_FILE ? {} : { DATABASE_URL: url }) },
  });
});
