import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { DatabaseError, reasonOf } from './database-error.js';
import { isThere, makeFolder } from './files.js';
import { megabytes, type Progress, step } from './progress.js';
import { run, type RunOptions } from './run.js';

/** The first Debian that has TimescaleDB. Its packages are unpacked into a folder, never installed. */
const RELEASE = 'trixie';
const PUBLIC_MIRROR = 'http://deb.debian.org/debian';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

const WANTED = ['postgresql-17', 'postgresql-client-17', 'postgresql-17-timescaledb', 'patchelf', 'libc-bin'];

/**
 * Libraries needed only by programs that are left out: jit (llvm, z3), PL/Perl, and the install scripts of the
 * packages. `missingLibraries` in binaries.ts checks on each machine that nothing else is missing.
 */
const UNNEEDED_LIBRARIES =
  /^lib(llvm|z3-|perl|c-l10n|pam-modules|semanage|sepol|debconf|audit-common|db5|proc2|ncursesw)|-perl$/;

/** One package as apt resolved it. */
export interface Package {
  readonly name: string;
  readonly version: string;
  readonly bytes: number;
  /** From the signed index. */
  readonly sha256: string;
}

/** Whether the server or its tools need this package to run in place. */
export const isNeeded = ({ name }: Pick<Package, 'name'>): boolean =>
  WANTED.includes(name) || (/^(lib|zlib1g)/.test(name) && !UNNEEDED_LIBRARIES.test(name));

/**
 * Parses the output of `apt-get --print-uris`: `'<uri>' <name>_<version>_<architecture>.deb <bytes> <hash>` per line,
 * with the colon of an epoch written as `%3a` and `SHA256:` before the hash, because the settings here ask for that
 * one.
 */
export function parsePackages(printed: string): Package[] {
  return printed.split('\n').flatMap((line) => {
    const [, name, version, bytes, sha256] =
      /^'[^']*' ([^_\s]+)_([^_\s]+)_\S+\.deb (\d+) SHA256:([0-9a-f]{64})/.exec(line) ?? [];
    if (name === undefined || version === undefined || sha256 === undefined) return [];
    return [{ name, version: decodeURIComponent(version), bytes: Number(bytes), sha256 }];
  });
}

/**
 * The Debian mirror that the machine's own apt uses, so that a local mirror is used here too. Reads both forms of apt
 * sources; other vendors' repositories, security archives and snapshots do not count.
 *
 * @param sources the contents of the files in /etc/apt that name sources
 */
export function mirrorIn(sources: readonly string[]): string | undefined {
  for (const text of sources) {
    for (const { uris, components } of [...oneLineEntries(text), ...stanzas(text)]) {
      if (!components.includes('main')) continue;
      const mirror = uris.find(
        (uri) => /^https?:\/\/\S+\/debian\/?$/.test(uri) && !uri.includes('archive.debian.org'),
      );
      if (mirror) return mirror.replace(/\/$/, '');
    }
  }
  return undefined;
}

interface SourceEntry {
  readonly uris: string[];
  readonly components: string[];
}

function oneLineEntries(text: string): SourceEntry[] {
  return text.split('\n').flatMap((line) => {
    const [, uri, rest] = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+\S+\s+([^#]*)/.exec(line) ?? [];
    return uri === undefined || rest === undefined ? [] : [{ uris: [uri], components: words(rest) }];
  });
}

function stanzas(text: string): SourceEntry[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string) => words(new RegExp(`^${name}:(.*)$`, 'im').exec(stanza)?.[1] ?? '');
    if (!field('Types').includes('deb') || field('Enabled').includes('no')) return [];
    return [{ uris: field('URIs'), components: field('Components') }];
  });
}

const words = (text: string): string[] => text.split(/\s+/).filter(Boolean);

/** Why apt cannot be used here, as a sentence; undefined if it can. */
export async function aptUnusable(): Promise<string | undefined> {
  if (process.platform !== 'linux')
    return `the private server is for Debian and its relatives, this is ${process.platform}`;
  if (process.arch !== 'x64' && process.arch !== 'arm64')
    return `Debian's TimescaleDB is for x64 and arm64, this is ${process.arch}`;
  for (const program of ['apt-get', 'apt-config', 'dpkg-deb']) {
    if (!(await isThere(`/usr/bin/${program}`)))
      return `${program} is not there: this is not Debian or a relative`;
  }
  if (!(await isThere(KEYRING)))
    return `${KEYRING} is missing, so packages cannot be verified (install debian-archive-keyring)`;
  return undefined;
}

/**
 * Downloads the packages of a TimescaleDB server into `<cache>/downloads`, verified by apt against the signed index of
 * the archive. Nothing of the system's apt is read or written except its proxy settings and the host of its Debian
 * mirror. Existing files with the right checksum are not downloaded again.
 *
 * @param scratch a separate folder for apt's index, a good 100 MB that are not needed afterwards
 * @returns the packages and, in the same order, their files
 */
export async function downloadPackages(
  { cache, scratch }: { cache: string; scratch: string },
  progress: Progress,
  signal?: AbortSignal,
): Promise<{ packages: Package[]; files: string[] }> {
  const folder = join(cache, 'downloads');
  await makeFolder(folder);
  const packages = await step(progress, `asking Debian ${RELEASE} for PostgreSQL 17 with TimescaleDB`, () =>
    resolvePackages(scratch, progress, signal),
  );
  const known = await filesOf(packages, folder);
  const missing = packages.filter((_, i) => known[i] === undefined);
  if (missing.length > 0) {
    await step(progress, `downloading ${missing.length} packages, ${megabytes(sizeOf(missing))}`, () =>
      fetchInto(folder, missing, scratch, progress, signal),
    );
  }
  const found = await filesOf(packages, folder);
  const files = packages.map(({ name, version }, i) => {
    const file = found[i];
    if (file === undefined)
      throw notInstalled(
        `Downloading ${name} ${version} failed.`,
        'There is no file with the right checksum.',
      );
    return file;
  });
  return { packages, files };
}

async function fetchInto(
  folder: string,
  packages: readonly Package[],
  scratch: string,
  progress: Progress,
  signal?: AbortSignal,
): Promise<void> {
  const before = await bytesIn(folder);
  const ticker = setInterval(() => {
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it never fails: what it cannot read counts nothing
    bytesIn(folder).then((now) => progress(`[db]   ${megabytes(now - before)} so far`));
  }, 5_000);
  try {
    const names = packages.map(({ name, version }) => `${name}=${version}`);
    await run('apt-get', ['--quiet', 'download', ...names], { ...privately(scratch), cwd: folder, signal });
  } catch (error) {
    throw notInstalled(`Downloading ${packages.length} packages failed.`, error, signal);
  } finally {
    clearInterval(ticker);
  }
}

/**
 * The downloaded file of each package that matches the signed index. Others are removed: `apt-get download` would keep
 * any file of the right name and size.
 */
async function filesOf(packages: readonly Package[], folder: string): Promise<(string | undefined)[]> {
  const present = await readdir(folder);
  return Promise.all(
    packages.map(async ({ name, version, sha256 }) => {
      const start = `${name}_${version.replaceAll(':', '%3a')}_`;
      const file = present.find((candidate) => candidate.startsWith(start) && candidate.endsWith('.deb'));
      if (file === undefined) return undefined;
      const path = join(folder, file);
      const hash = createHash('sha256').update(await readFile(path));
      if (hash.digest('hex') === sha256) return path;
      await rm(path);
      return undefined;
    }),
  );
}

async function resolvePackages(apt: string, progress: Progress, signal?: AbortSignal): Promise<Package[]> {
  const own = mirrorIn(await systemSources());
  try {
    await updateFrom(own ?? PUBLIC_MIRROR, apt, signal);
  } catch (error) {
    if (own === undefined || own === PUBLIC_MIRROR)
      throw notInstalled('Asking Debian for packages failed.', error, signal);
    progress(`[db]   ${own} has no usable ${RELEASE}, trying ${PUBLIC_MIRROR}`);
    await updateFrom(PUBLIC_MIRROR, apt, signal).catch((again: unknown) => {
      throw notInstalled('Asking Debian for packages failed.', again, signal);
    });
  }
  const printed = await run('apt-get', ['--quiet=2', '--print-uris', 'install', ...WANTED], {
    ...privately(apt),
    signal,
  });
  const packages = parsePackages(printed).filter(isNeeded);
  const absent = WANTED.filter((name) => !packages.some((found) => found.name === name));
  if (absent.length > 0)
    throw notInstalled('Asking Debian for packages failed.', `apt did not name ${absent.join(', ')}`);
  return packages;
}

async function updateFrom(mirror: string, apt: string, signal?: AbortSignal): Promise<void> {
  for (const folder of ['state/lists/partial', 'cache/archives/partial'])
    await mkdir(join(apt, folder), { recursive: true });
  const main = `deb [arch=${process.arch === 'arm64' ? 'arm64' : 'amd64'} signed-by=${KEYRING}] ${mirror} ${RELEASE} main\n`;
  await writeFile(join(apt, 'sources.list'), main);
  await writeFile(join(apt, 'status'), '');
  await writeFile(join(apt, 'apt.conf'), `${settings(apt)}${await networkSettings()}`);
  await run('apt-get', ['--quiet', 'update'], { ...privately(apt), signal });
}

/** apt reads this file first, so it never reads the system's own settings, sources or hooks. */
const settings = (apt: string): string => `
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "${apt}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "${apt}/state";
Dir::State::Status "${apt}/status";
Dir::Cache "${apt}/cache";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::ForceHash "SHA256";
APT::Update::Error-Mode "any";
`;

const privately = (apt: string): RunOptions => ({
  env: { ...process.env, APT_CONFIG: join(apt, 'apt.conf') },
});

/** The machine's proxies and certificates, in apt's own syntax. */
async function networkSettings(): Promise<string> {
  const dump = await run('apt-config', ['dump', 'Acquire']).catch(() => '');
  return dump
    .split('\n')
    .filter((line) => /^Acquire::https?::/i.test(line))
    .map((line) => `${line}\n`)
    .join('');
}

async function systemSources(): Promise<string[]> {
  const parts = await readdir('/etc/apt/sources.list.d').catch(() => []);
  const files = [
    '/etc/apt/sources.list',
    ...parts.sort().map((name) => join('/etc/apt/sources.list.d', name)),
  ];
  return Promise.all(
    files
      .filter((file) => /\.(list|sources)$/.test(file))
      .map((file) => readFile(file, 'utf8').catch(() => '')),
  );
}

function notInstalled(what: string, why: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted) return why;
  return new DatabaseError(
    'database.install',
    {
      what,
      why: reasonOf(why),
      todo: 'Check that this machine reaches a Debian mirror and has room on its disk, then run this again: what was fetched is kept. Or set DATABASE_URL.',
    },
    { cause: why },
  );
}

const sizeOf = (packages: readonly Package[]): number => packages.reduce((sum, { bytes }) => sum + bytes, 0);

/** Files can appear and disappear meanwhile. */
async function bytesIn(folder: string): Promise<number> {
  const names = await readdir(folder).catch(() => []);
  const sizes = names.map((name) =>
    stat(join(folder, name)).then(
      ({ size }) => size,
      () => 0,
    ),
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
