// Whether a server keeps growing under a steady load: npm run soak [-- --minutes 60]
import { prepare, root, run, say, stoppable } from './lib/prepare.mjs';

await stoppable(async (signal) => {
  await prepare(signal);
  const { databaseUp, databaseDown } = await import('../dist/libs/timescale/src/index.js');
  const options = { root, instance: 'soak', env: process.env, progress: say };
  const database = await databaseUp({ ...options, signal });
  try {
    await run(process.execPath, ['dist/bench/soak-main.js', ...process.argv.slice(2)], {
      signal,
      env: { WAYLOG_BENCH_DATABASE_URL: database.url },
    });
  } finally {
    if (database.stoppable) await databaseDown(options);
  }
});
