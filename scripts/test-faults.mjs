// The long form of the fault suite: npm run test:faults [-- --help]
import { fail, prepare, run } from './lib/prepare.mjs';

try {
  await prepare();
  await run(process.execPath, ['dist/test/faults/main.js', ...process.argv.slice(2)]);
} catch (error) {
  fail(error);
}
