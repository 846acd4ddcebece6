// The operator's command line, from a checkout: ./waylog COMMAND
import { fail, prepare, stoppable } from './lib/prepare.mjs';

process.env.WAYLOG_TYPED = './waylog';
const isReady = await stoppable(async (signal) => {
  await prepare(signal);
  return true;
});
if (isReady) await import('../dist/apps/cli/src/main.js').catch(fail);
