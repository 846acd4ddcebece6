// The long form of the fault suite: npm run test:faults [-- --help]
import { prepare, run, stoppable } from './lib/prepare.mjs';

await stoppable(async (signal) => {
  await prepare(signal);
  await run(process.execPath, ['dist/test/faults/main.js', ...process.argv.slice(2)], { signal });
});
