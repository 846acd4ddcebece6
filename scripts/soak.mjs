// Whether a server goes on growing under a steady load: npm run soak [-- --minutes 60]
import { fail, prepare, root, run, say } from './lib/prepare.mjs';

try {
  await prepare();
  const { databaseUp, databaseDown } = await import('../dist/libs/timescale/src/index.js');
  const options = { root, instance: 'soak', env: process.env, progress: say };
  const database = await databaseUp(options);
  try {
    await run(process.execPath, ['dist/bench/soak-main.js', ...process.argv.slice(2)], {
      WAYLOG_BENCH_DATABASE_URL: database.url,
    });
  } finally {
    if (database.stoppable) await databaseDown(options);
  }
} catch (error) {
  fail(error);
}
