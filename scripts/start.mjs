// From a clone to a running server with a demo flight: npm start
import { spawn } from 'node:child_process';
import { fail, prepare, root, say } from './lib/prepare.mjs';

try {
  await prepare();
  const { databaseUp } = await import('../dist/libs/timescale/src/index.js');
  const { mayMigrate, migrate } = await import('../dist/migrations/index.js');
  const { readSecrets } = await import('../dist/libs/platform/src/index.js');
  const progress = (line) => say(line);
  const database = await databaseUp({ root, instance: 'dev', env: readSecrets(process.env).env, progress });
  // Who works as the application role need not migrate, and cannot.
  if (await mayMigrate(database.url)) await migrate(database.url, progress);
  say('starting the server (Ctrl-C stops it; the database stays up until `./waylog db down`)');
  const server = spawn(process.execPath, ['dist/apps/server/src/main.js'], {
    cwd: root,
    stdio: 'inherit',
    env: {
      WAYLOG_DEMO: '1',
      ...process.env,
      ...(!process.env.DATABASE_URL_FILE && { DATABASE_URL: database.url }),
    },
  });
  // The terminal sends Ctrl-C to both; a supervisor signals only this process.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => server.kill('SIGTERM'));
  server.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGTERM' ? 0 : 1);
  });
} catch (error) {
  fail(error);
}
