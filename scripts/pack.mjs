// The package for other applications: npm run pack [-- --pack-destination FOLDER]. `npm pack` alone builds nothing here,
// because .npmrc lets no package run scripts.
import { join } from 'node:path';
import { prepare, root, run, say, stoppable } from './lib/prepare.mjs';

await stoppable(async (signal) => {
  await prepare(signal);
  say('declarations');
  const tsc = join(root, 'node_modules/@typescript/native/bin/tsc');
  await run(process.execPath, [tsc, '-p', 'tsconfig.package.json'], { signal, stdio: ['ignore', 2, 2] });
  await run('npm', ['pack', '--loglevel=error', ...process.argv.slice(2)], { signal });
});
