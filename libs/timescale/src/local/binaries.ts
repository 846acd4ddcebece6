import { open, readdir, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

import { downloadPackages, type Package } from './apt.js';
import { DatabaseError } from './database-error.js';
import { isThere, makeFolder } from './files.js';
import { withLock } from './lock.js';
import { type Progress, step } from './progress.js';
import { run } from './run.js';
import { canReach, type ServerUser } from './server-user.js';

/** A PostgreSQL with TimescaleDB, unpacked and patched so that it runs in its place. */
export interface Tree {
  readonly path: string;
  /** Where `postgres`, `psql`, `pg_dump` and so on are. */
  readonly bin: string;
  /** For `LOCPATH`: C.UTF-8 as this tree's libc knows it, whatever the host's. */
  readonly locales: string;
}

const SYSTEM_CACHE = '/var/cache/waylog';
const MANIFEST = 'waylog.json';
const NOT_NEEDED = [
  'etc',
  'var',
  'usr/share/doc',
  'usr/share/man',
  'usr/share/locale',
  'usr/share/lintian',
  'usr/share/postgresql/17/man',
  'usr/lib/postgresql/17/lib/bitcode',
  'usr/lib/postgresql/17/lib/llvmjit.so',
  'usr/lib/postgresql/17/lib/llvmjit_types.bc',
];

/** The PostgreSQL from Debian's packages. */
export const PRIVATE_MAJOR = 17;

export const treeAt = (path: string): Tree => ({
  path,
  bin: join(path, `usr/lib/postgresql/${PRIVATE_MAJOR}/bin`),
  locales: join(path, 'usr/lib/locale'),
});

/**
 * Finds the unpacked server in the user's cache (`$XDG_CACHE_HOME/waylog`, by default `~/.cache/waylog`) or the
 * machine's (/var/cache/waylog, which only root writes), or downloads and unpacks it. The tree is built beside its
 * place and moved there when complete, so a tree in its place is always complete. All checkouts of a user share it.
 */
export async function ensureTree(
  user: ServerUser,
  env: NodeJS.ProcessEnv,
  progress: Progress,
  signal?: AbortSignal,
): Promise<Tree> {
  const own = resolve(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'waylog');
  const present = (await newestTree(own, user)) ?? (await newestTree(SYSTEM_CACHE, user));
  if (present) return present;
  const cache = await cacheFolder(own, user, progress);
  return withLock(
    join(cache, 'lock'),
    async () => (await newestTree(cache, user)) ?? (await build(cache, progress, signal)),
    { signal, onWait: (pid) => progress(`[db] waiting for process ${pid}, which is unpacking PostgreSQL`) },
  );
}

/** The unpacked server whose programs this process can run itself, if there is one. Downloads nothing. */
export async function cachedTree(env: NodeJS.ProcessEnv): Promise<Tree | undefined> {
  const us: ServerUser = { name: 'we' };
  const own = resolve(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'waylog');
  return (await newestTree(own, us)) ?? (await newestTree(SYSTEM_CACHE, us));
}

/** The user's own, unless root runs the server as another user who cannot pass through root's home. */
async function cacheFolder(own: string, user: ServerUser, progress: Progress): Promise<string> {
  await makeFolder(own);
  if (await canReach(user, own)) return own;
  await rmdir(own).catch(() => undefined);
  progress(`[db] ${user.name}, who runs the server, cannot reach ${own}: using ${SYSTEM_CACHE}`);
  await makeFolder(SYSTEM_CACHE);
  return SYSTEM_CACHE;
}

async function newestTree(cache: string, user: ServerUser): Promise<Tree | undefined> {
  const names = await readdir(cache).catch(() => []);
  const trees = await Promise.all(
    names
      .filter((name) => name.startsWith('postgresql-') && name.endsWith(process.arch))
      .map(async (name) => {
        const path = join(cache, name);
        const made = await stat(join(path, MANIFEST)).catch(() => undefined);
        return made && { path, made: made.mtimeMs };
      }),
  );
  const [newest] = trees.filter((tree) => tree !== undefined).sort((a, b) => b.made - a.made);
  return newest && (await canReach(user, treeAt(newest.path).bin)) ? treeAt(newest.path) : undefined;
}

async function build(cache: string, progress: Progress, signal?: AbortSignal): Promise<Tree> {
  // This process holds the lock, so these belong to processes that have died.
  for (const name of await readdir(cache)) {
    if (name.startsWith('partial-')) await rm(join(cache, name), { recursive: true, force: true });
  }
  const partial = join(cache, `partial-${process.pid}`);
  const tree = join(partial, 'tree');
  try {
    await makeFolder(tree);
    const scratch = join(partial, 'apt');
    const { packages, files } = await downloadPackages({ cache, scratch }, progress, signal);
    const place = join(cache, nameOf(packages));
    await step(progress, `unpacking into ${place}`, async () => {
      for (const file of files) await run('dpkg-deb', ['--extract', file, tree], { signal });
      for (const path of NOT_NEEDED) await rm(join(tree, path), { recursive: true, force: true });
      await patch(tree, place, signal);
      await writeFile(join(tree, MANIFEST), `${JSON.stringify({ packages }, null, 2)}\n`);
      await rm(place, { recursive: true, force: true });
      await rename(tree, place);
    });
    return treeAt(place);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

/** `postgresql-17.11-0+deb13u1-timescaledb-2.19.3+dfsg-1+deb13u1-x64`. */
function nameOf(packages: readonly Package[]): string {
  const version = (name: string) =>
    packages.find((p) => p.name === name)?.version.replace(/^\d+:/, '') ?? 'unknown';
  return `postgresql-${version('postgresql-17')}-timescaledb-${version('postgresql-17-timescaledb')}-${process.arch}`;
}

/**
 * Makes each program load this tree's libraries with this tree's loader, by absolute path, wherever it is called from.
 * The old-style RPATH (not RUNPATH) also applies to the libraries that the libraries themselves load.
 *
 * @param tree where the files are now
 * @param place where they will be
 */
async function patch(tree: string, place: string, signal?: AbortSignal): Promise<void> {
  const [libraries, loader] =
    process.arch === 'arm64'
      ? ['usr/lib/aarch64-linux-gnu', 'ld-linux-aarch64.so.1']
      : ['usr/lib/x86_64-linux-gnu', 'ld-linux-x86-64.so.2'];
  const load = [join(tree, libraries, loader), '--library-path', join(tree, libraries)] as const;
  const viaLoader = (args: string[]) => run(load[0], [...load.slice(1), ...args], { signal });

  const { bin } = treeAt(tree);
  const programs = await Promise.all(
    (await readdir(bin)).map(async (name) => ((await isElf(join(bin, name))) ? [name] : [])),
  );
  const elf = programs.flat().map((name) => join(bin, name));
  const missing = await missingLibraries(
    [join(bin, 'postgres'), join(bin, 'psql'), join(bin, 'initdb')],
    viaLoader,
  );
  if (missing.length > 0) {
    throw new DatabaseError('database.install', {
      what: 'The unpacked PostgreSQL would not run.',
      why: `Debian's packages have changed and libraries are missing: ${missing.join(', ')}`,
      todo: 'Set DATABASE_URL or use Docker, and report this: the list of needed packages in apt.ts wants them.',
    });
  }
  await viaLoader([
    join(tree, 'usr/bin/patchelf'),
    '--set-interpreter',
    join(place, libraries, loader),
    '--force-rpath',
    '--set-rpath',
    join(place, libraries),
    ...elf,
  ]);
}

async function missingLibraries(
  programs: string[],
  viaLoader: (args: string[]) => Promise<string>,
): Promise<string[]> {
  const lists = await Promise.all(programs.map((program) => viaLoader(['--list', program])));
  const missing = lists.flatMap((list) =>
    [...list.matchAll(/^\s*(\S+) => not found/gm)].map(([, name]) => String(name)),
  );
  return [...new Set(missing)];
}

async function isElf(path: string): Promise<boolean> {
  const file = await open(path).catch(() => undefined);
  if (!file) return false;
  try {
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.toString('latin1') === '\x7fELF';
  } finally {
    await file.close();
  }
}

/** Whether the tree's server brings a library to preload. */
export const hasLibrary = (tree: Tree, name: string): Promise<boolean> =>
  isThere(join(tree.path, 'usr/lib/postgresql/17/lib', `${name}.so`));
