// Unit, database and end-to-end tests against a separate database server: npm test [-- jest options]
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { exitCodeOf, prepare, root, say, stoppable } from './lib/prepare.mjs';

await stoppable(async (signal) => {
  await prepare(signal);
  const { databaseUp, databaseDown } = await import('../dist/libs/timescale/src/index.js');
  const options = { root, instance: 'test', env: process.env, progress: say };
  const database = await databaseUp({ ...options, signal });
  const report = join(root, '.waylog', 'test-report.json');
  rmSync(report, { force: true });
  const jest = [
    'node_modules/jest/bin/jest.js',
    '--maxWorkers=2',
    '--json',
    `--outputFile=${report}`,
    ...process.argv.slice(2),
  ];
  let code;
  try {
    code = await exitCodeOf(process.execPath, jest, {
      signal,
      // With --json jest prints its report to standard output; the readable one goes to standard error.
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { WAYLOG_TEST_DATABASE_URL: database.url },
    });
  } finally {
    if (database.stoppable) await databaseDown(options);
  }
  const { numPassedTests, numFailedTests, numPendingTests, numRuntimeErrorTestSuites, testResults } =
    JSON.parse(readFileSync(report, 'utf8'));
  // The name of a test that can be skipped says why. With a filter (-t) all others are skipped, which is not worth a
  // message.
  if (process.argv.length === 2) {
    for (const { status, fullName } of testResults.flatMap(({ assertionResults }) => assertionResults)) {
      if (status === 'pending') console.log(`skipped: ${fullName}`);
    }
  }
  // A test file that does not even load counts as a failed test.
  const failed = numFailedTests + numRuntimeErrorTestSuites;
  console.log(
    `${numPassedTests} passed, ${failed} failed${numPendingTests > 0 ? `, ${numPendingTests} skipped` : ''}`,
  );
  process.exitCode = code === 0 && failed === 0 ? 0 : 1;
});
