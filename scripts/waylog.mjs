// The operator's command line, from a checkout: ./waylog COMMAND
import { fail, prepare } from './lib/prepare.mjs';

try {
  await prepare();
  await import('../dist/apps/cli/src/main.js');
} catch (error) {
  fail(error);
}
