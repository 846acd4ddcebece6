// Benchmarks against a separate database server: npm run bench [-- NAME]
import { installDependencies, prepare, root, run, say, stoppable } from './lib/prepare.mjs';

await stoppable(async (signal) => {
  await prepare(signal);
  // The systems that Waylog is compared with are dependencies of the benchmarks alone.
  await installDependencies(signal, 'bench/peers');
  const { databaseUp, databaseDown } = await import('../dist/libs/timescale/src/index.js');
  const options = { root, instance: 'bench', env: process.env, progress: say };
  const database = await databaseUp({ ...options, signal });
  try {
    await run(process.execPath, ['dist/bench/main.js', ...process.argv.slice(2)], {
      signal,
      env: { WAYLOG_BENCH_DATABASE_URL: database.url },
    });
  } finally {
    if (database.stoppable) await databaseDown(options);
  }
});
