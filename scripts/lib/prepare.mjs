// What `npm start`, `npm test` and `npm run bench` do before anything else: dependencies and build, each only when
// something changed. Nothing but Node itself may be imported here.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const began = Date.now();

/** One line of progress, with the seconds since the start. Standard output is for results. */
export const say = (line) =>
  console.error(`[${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s] ${line}`);

/** Runs a program and waits for it; its output is this program's. Throws when it fails. */
export function run(program, args, env = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
    child.on('error', reject);
    child.on('exit', (code, signal) =>
      code === 0
        ? resolve()
        : reject(new Error(`${program} ${args.join(' ')} ended with ${signal ?? `code ${code}`}`)),
    );
  });
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  throw new Error(
    `Waylog needs Node.js 20.19 or later; this is ${process.versions.node}. Install a newer one and try again.`,
  );
}

/** Brings the node_modules of a folder to what its package-lock.json asks for. */
export async function installDependencies(folder = '.') {
  if (isInstalled(join(root, folder))) return;
  say(
    `installing dependencies (npm ci${folder === '.' ? '' : ` in ${folder}/`}); the first time takes about a minute`,
  );
  await run('npm', ['ci', '--prefix', folder, '--no-audit', '--no-fund', '--loglevel=error']);
}

/** Whether node_modules holds what package-lock.json asks for; npm keeps a lock file of what it installed. */
function isInstalled(folder) {
  const installed = join(folder, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const { packages: found } = JSON.parse(readFileSync(installed, 'utf8'));
  const { packages: wanted } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'));
  return Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || found[path]?.version === version || (optional && !found[path]),
  );
}

const sources = [
  'apps',
  'libs',
  'migrations',
  'bench',
  'test/support',
  'test/faults',
  '.swcrc',
  'package.json',
];

async function build() {
  const wanted = hashOf(
    sources
      .flatMap((name) => filesUnder(join(root, name)))
      .map(fingerprint)
      .join('\n'),
  );
  const stamp = join(root, 'dist', '.stamp');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('building');
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  mkdirSync(join(root, 'dist'));
  const swc = join(root, 'node_modules', '@swc', 'cli', 'bin', 'swc.js');
  const folders = sources.filter(
    (name) => existsSync(join(root, name)) && statSync(join(root, name)).isDirectory(),
  );
  await run(process.execPath, [
    swc,
    ...folders,
    '-d',
    'dist',
    '--extensions',
    '.ts',
    '--ignore',
    '**/*.spec.ts',
    '--ignore',
    '**/node_modules/**',
    '--quiet',
  ]);
  writeFileSync(stamp, wanted);
}

function filesUnder(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('node_modules'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

const fingerprint = (file) => {
  const { size, mtimeMs } = statSync(file);
  return `${file} ${size} ${mtimeMs}`;
};

const hashOf = (content) => createHash('sha256').update(content).digest('hex');

/** Brings the checkout to the point where dist/ can be run. */
export async function prepare() {
  checkNode();
  await installDependencies();
  await build();
}

/** Says what went wrong in one line and ends with an exit code. */
export function fail(error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
