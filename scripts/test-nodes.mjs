// The unit tests with the other versions of Node that are supported: npm run test:nodes. What needs more than Node is tested
// with the applications of test/hosts.e2e.spec.ts on each of them.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { prepare, root, run, say, stoppable } from './lib/prepare.mjs';

const { config } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const current = process.versions.node.split('.')[0];

await stoppable(async (signal) => {
  await prepare(signal);
  for (const major of config.nodes.split(' ').filter((one) => one !== current)) {
    const node = execFileSync(process.execPath, [join(root, 'scripts/node.mjs'), major], {
      encoding: 'utf8',
    });
    say(`unit tests with Node ${major}`);
    const jest = ['node_modules/jest/bin/jest.js', '--selectProjects', 'unit', '--maxWorkers=2', '--silent'];
    await run(node.trim(), jest, { signal, stdio: ['ignore', 2, 2] });
  }
});
