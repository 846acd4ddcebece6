// The first steps of `npm start`, `npm test` and `npm run bench`: dependencies and build, each only if something
// changed. Only modules of Node itself can be imported here.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const began = Date.now();

/** One line of progress, with the seconds since the start. Standard output is for results. */
export const say = (line) =>
  console.error(`[${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s] ${line}`);

/** Both to standard error: the output of the preparation steps is not a result. */
const AS_PROGRESS = ['ignore', 2, 2];
const STOPPED_BY = ['SIGTERM', 'SIGINT', 'SIGHUP'];

/**
 * Runs the work of a script with a signal that a supervisor, or Ctrl-C, aborts. Programs that were started with it end
 * first; then this process ends by the signal that stopped it, as if it had not handled it. Reports any other error,
 * with an exit code. Returns the result of the work; undefined after a failure.
 */
export async function stoppable(work) {
  const stop = new AbortController();
  let stoppedBy;
  const onSignal = (signal) => {
    stoppedBy ??= signal;
    stop.abort(new Error(`It was stopped by ${signal}.`));
  };
  for (const signal of STOPPED_BY) process.on(signal, onSignal);
  try {
    return await work(stop.signal);
  } catch (error) {
    if (!stoppedBy) fail(error);
  } finally {
    for (const signal of STOPPED_BY) process.off(signal, onSignal);
    if (stoppedBy) process.kill(process.pid, stoppedBy);
  }
}

/**
 * Runs a program to its end and returns its exit code. `signal` ends it, and everything that it has started: they are a
 * process group, since npm and test runners do not end what they start.
 */
export async function exitCodeOf(program, args, { signal, env = {}, stdio = 'inherit' }) {
  signal.throwIfAborted();
  const child = spawn(program, args, {
    cwd: root,
    stdio,
    env: { ...process.env, ...env },
    detached: true,
  });
  const end = () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid, 'SIGTERM');
  };
  signal.addEventListener('abort', end);
  try {
    const [code, by] = await once(child, 'exit');
    signal.throwIfAborted();
    if (by) throw new Error(`${program} ${args.join(' ')} ended with ${by}`);
    return code;
  } finally {
    signal.removeEventListener('abort', end);
  }
}

/** Runs a program to its end; its output is this program's, unless `stdio` says otherwise. Throws if it fails. */
export async function run(program, args, options) {
  const code = await exitCodeOf(program, args, options);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with code ${code}`);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  throw new Error(
    `Waylog needs Node.js 20.19 or later; this is ${process.versions.node}. Install a newer one and try again.`,
  );
}

/** Installs the node_modules of a folder from its package-lock.json. */
export async function installDependencies(signal, folder = '.') {
  if (isInstalled(join(root, folder))) return;
  say(
    `installing dependencies (npm ci${folder === '.' ? '' : ` in ${folder}/`}); the first time takes about a minute`,
  );
  await run('npm', ['ci', '--prefix', folder, '--no-audit', '--no-fund', '--loglevel=error'], {
    signal,
    stdio: AS_PROGRESS,
  });
}

/** Whether node_modules matches package-lock.json; npm keeps a lock file of what it installed. */
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
  'exports',
  'libs',
  'migrations',
  'bench',
  'test/support',
  'test/faults',
  '.swcrc',
  'package.json',
];

async function build(signal) {
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
  const ignored = ['--ignore', '**/*.spec.ts', '--ignore', '**/node_modules/**'];
  await run(process.execPath, [swc, ...folders, '-d', 'dist', '--extensions', '.ts', ...ignored, '--quiet'], {
    signal,
    stdio: AS_PROGRESS,
  });
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

/** Prepares the checkout so that dist/ can be run. */
export async function prepare(signal) {
  checkNode();
  await installDependencies(signal);
  await build(signal);
}

/** Reports an error in one line and ends with an exit code. */
export function fail(error) {
  console.error(`\n${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
