// Prints the path of another Node, of its npm package: node scripts/node.mjs MAJOR. It is kept in .waylog/node.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, run, stoppable } from './lib/prepare.mjs';

const [major = ''] = process.argv.slice(2);
if (!/^\d+$/.test(major)) {
  console.error('Usage: node scripts/node.mjs MAJOR, such as 24');
  process.exit(2);
}
const place = join(root, '.waylog', 'node', major);
const program = join(place, 'bin', 'node');

await stoppable(async (signal) => {
  if (!existsSync(program)) {
    const unfinished = `${place}.${process.pid}`;
    mkdirSync(unfinished, { recursive: true });
    const stdio = ['ignore', 'ignore', 'inherit'];
    const name = `node-${process.platform}-${process.arch}@${major}`;
    await run('npm', ['pack', name, '--loglevel=error', '--pack-destination', unfinished], { signal, stdio });
    const tarball = join(unfinished, readdirSync(unfinished)[0]);
    await run('tar', ['-xzf', tarball, '-C', unfinished, '--strip-components=1'], { signal, stdio });
    rmSync(tarball);
    // Another one may have been faster.
    if (!existsSync(place)) renameSync(unfinished, place);
    else rmSync(unfinished, { recursive: true });
  }
  console.log(program);
});
