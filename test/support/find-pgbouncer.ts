import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Where PgBouncer is, or why there is none. */
export type FoundPgBouncer =
  { readonly program: string; readonly libraries: string } | { readonly why: string };

const FOLDER = join(process.cwd(), '.waylog', 'pgbouncer');

/** The machine's own; or Debian's package, unpacked into a folder of this checkout and not installed. */
export function findPgBouncer(): FoundPgBouncer {
  const places = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin'].map((folder) =>
    join(folder, 'pgbouncer'),
  );
  const installed = places.find((place) => existsSync(place));
  if (installed) return { program: installed, libraries: '' };
  const unpacked = join(FOLDER, 'usr', 'sbin', 'pgbouncer');
  if (!existsSync(unpacked)) {
    const why = unpack();
    if (why !== undefined) return { why };
  }
  const lib = join(FOLDER, 'usr', 'lib');
  const folders = existsSync(lib) ? readdirSync(lib).filter((name) => name.includes('-linux-gnu')) : [];
  return { program: unpacked, libraries: folders.map((name) => join(lib, name)).join(':') };
}

/**
 * Downloads the package, and its dependencies that this machine lacks, with the machine's apt settings, and changes
 * nothing of apt. Returns why it could not.
 */
function unpack(): string | undefined {
  if (!existsSync('/usr/bin/apt-get')) return 'there is no pgbouncer, and no apt-get to fetch it with';
  const fresh = `${FOLDER}.${process.pid}`;
  const apt = join(fresh, 'apt');
  for (const folder of ['lists/partial', 'cache/archives/partial'])
    mkdirSync(join(apt, folder), { recursive: true });
  const own = [
    ...['-o', `Dir::State::Lists=${apt}/lists`, '-o', `Dir::Cache=${apt}/cache`],
    ...['-o', 'Debug::NoLocking=1', '-o', 'APT::Sandbox::User=root'],
  ];
  const failure = (program: string, ...args: string[]): string | undefined => {
    const { status, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 300_000 });
    return status === 0
      ? undefined
      : `${program} ${args.at(-1) ?? ''}: ${stderr.trim().split('\n').at(-1) ?? ''}`;
  };
  try {
    const why =
      failure('apt-get', ...own, '--quiet', 'update') ??
      failure(
        'apt-get',
        ...own,
        ...[
          '--quiet',
          '--yes',
          '--no-install-recommends',
          '--download-only',
          '--reinstall',
          'install',
          'pgbouncer',
        ],
      );
    if (why !== undefined) return `it could not be fetched (${why})`;
    const archives = join(apt, 'cache', 'archives');
    for (const file of readdirSync(archives).filter((name) => name.endsWith('.deb'))) {
      const broken = failure('dpkg-deb', '--extract', join(archives, file), fresh);
      if (broken !== undefined) return broken;
    }
    rmSync(apt, { recursive: true });
    rmSync(FOLDER, { recursive: true, force: true });
    renameSync(fresh, FOLDER);
    return undefined;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}
