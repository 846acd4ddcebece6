// From a clone to a running server with a demo flight: npm start
import { once } from 'node:events';
import { clearInterval, setInterval } from 'node:timers';
import { fail, prepare, root, say, stoppable } from './lib/prepare.mjs';

// npm passes on SIGTERM and SIGINT; by any other signal it ends alone, and the server would live on and keep its port.
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
  const { databaseUp } = await import('../dist/libs/timescale/src/index.js');
  const { mayMigrate, migrate } = await import('../dist/migrations/index.js');
  const { readSecrets } = await import('../dist/libs/platform/src/index.js');
  const progress = (line) => say(line);
  const { url } = await databaseUp({
    ...{ root, instance: 'dev', progress, signal },
    env: readSecrets(process.env).env,
  });
  // Who works as the application role need not migrate, and cannot. A migration that is left alone in the middle is one
  // transaction: PostgreSQL takes it back.
  const migrated = mayMigrate(url).then((may) => may && migrate(url, progress));
  await Promise.race([migrated, once(signal, 'abort')]);
  signal.throwIfAborted();
  return url;
});

if (databaseUrl !== undefined) {
  say('starting the server (Ctrl-C stops it; the database stays up until `./waylog db down`)');
  process.chdir(root);
  process.env.WAYLOG_DEMO ??= '1';
  if (!process.env.DATABASE_URL_FILE) process.env.DATABASE_URL = databaseUrl;
  // In this process, so that nothing stands between the server and whoever stops it.
  await import('../dist/apps/server/src/main.js').catch(fail);
}
