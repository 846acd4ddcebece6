// What other applications get can be imported, with its declarations: npm run check:package
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run, stoppable } from './lib/prepare.mjs';

const folder = mkdtempSync(join(tmpdir(), 'waylog-package-'));
const bin = (name) => join(root, 'node_modules', '.bin', name);
try {
  await stoppable(async (signal) => {
    await run(process.execPath, [join(root, 'scripts/pack.mjs'), '--pack-destination', folder], { signal });
    const [tarball] = readdirSync(folder).map((name) => join(folder, name));
    await run(bin('publint'), [tarball, '--strict'], { signal });
    // It is an ES module, which CommonJS requires from Node 20.19 on; what resolves like Node 10 finds nothing.
    await run(bin('attw'), [tarball, '--profile', 'esm-only', '--format', 'table-flipped'], { signal });
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
