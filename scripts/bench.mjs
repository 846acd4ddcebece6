// Benchmarks against a database of their own: npm run bench [-- NAME]
import { fail, installDependencies, prepare, root, run, say } from './lib/prepare.mjs';

try {
  await prepare();
  // The systems that Waylog is measured against are dependencies of the benchmarks alone.
  await installDependencies('bench/peers');
  const { databaseUp, databaseDown } = await import('../dist/libs/timescale/src/index.js');
  const options = { root, instance: 'bench', env: process.env, progress: say };
  const database = await databaseUp(options);
  try {
    await run(process.execPath, ['dist/bench/main.js', ...process.argv.slice(2)], {
      WAYLOG_BENCH_DATABASE_URL: database.url,
    });
  } finally {
    if (database.stoppable) await databaseDown(options);
  }
} catch (error) {
  fail(error);
}
