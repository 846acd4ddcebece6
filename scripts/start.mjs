// From a clone to a running server with a demo flight: npm start
import { clearInterval, setInterval } from 'node:timers';
import { fail, prepare, root, say, stoppable } from './lib/prepare.mjs';

process.env.WAYLOG_TYPED = './waylog';
// npm passes on SIGTERM and SIGINT. On any other signal it ends alone, and the server would continue and keep its port.
if (process.env.npm_lifecycle_event === 'start') {
  const npm = process.ppid;
  const look = setInterval(() => {
    if (process.ppid === npm) return;
    clearInterval(look);
    say('npm has ended: so does this');
    process.kill(process.pid, 'SIGTERM');
  }, 500);
  look.unref();
}

const databaseUrl = await stoppable(async (signal) => {
  await prepare(signal);
  const { migratedDatabase } = await import('./lib/database.mjs');
  return migratedDatabase(signal);
});

if (databaseUrl !== undefined) {
  say('starting the server (Ctrl-C stops it; the database stays up until `./waylog db down`)');
  process.chdir(root);
  process.env.WAYLOG_DEMO ??= '1';
  if (!process.env.DATABASE_URL_FILE) process.env.DATABASE_URL = databaseUrl;
  // In this process, so that signals reach the server directly.
  await import('../dist/apps/server/src/main.js').catch(fail);
}
