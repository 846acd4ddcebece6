import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { withoutSecrets } from '#lib/platform';

import { cachedTree, PRIVATE_MAJOR, treeAt } from './binaries.js';
import { connected } from './connect.js';
import { DatabaseError } from './database-error.js';
import { type Command, dockerTool } from './docker.js';
import { factsOf, withoutPassword } from './external.js';
import { type InstanceRecord, readRecord } from './instance.js';
import { run } from './run.js';

/** Where to look for PostgreSQL's programs. */
export interface ToolPlaces {
  /** The checkout, whose instances are known. */
  readonly root: string;
  /** Usually `process.env`: PATH, XDG_CACHE_HOME and what Docker reads. */
  readonly env: NodeJS.ProcessEnv;
}

/**
 * How to run one of PostgreSQL's own programs (`pg_dump`, `pg_restore`, ...) against any database, in a version that
 * fits its server: the private server's own, the container's, or one that is installed here. An older program refuses a
 * newer server, so a program from the PATH is asked for its version first.
 *
 * The password is passed by environment, so that no process list shows it. With Docker the program runs in the
 * container: use standard input and output, not paths.
 *
 * @param url of the database; the program connects to exactly this one
 * @throws DatabaseError `database.tool` if there is no program that fits the server
 */
export async function serverTool(
  url: string,
  tool: string,
  args: readonly string[],
  { root, env }: ToolPlaces,
): Promise<Command> {
  const instance = await instanceAt(url, root);
  if (instance?.record.source === 'docker') {
    const command = dockerTool({ root, instance: instance.name }, instance.record, tool, args, env);
    // Never a terminal; and the database can be another one than the instance's own.
    const inside = command.args.indexOf('PGDATABASE=waylog');
    command.args[inside] = `PGDATABASE=${databaseOf(url)}`;
    if (!command.args.includes('-T')) command.args.splice(command.args.indexOf('exec') + 1, 0, '-T');
    return command;
  }
  const program =
    instance?.record.source === 'private'
      ? join(treeAt(instance.record.tree).bin, tool)
      : await installed(url, tool, env);
  return { program, args: [...args], env: { ...withoutSecrets(env), ...libpqEnv(url) } };
}

/** The instance of this checkout whose server a URL names. */
async function instanceAt(
  url: string,
  root: string,
): Promise<{ name: string; record: InstanceRecord } | undefined> {
  const { hostname, port, password } = new URL(url);
  if (!['127.0.0.1', 'localhost'].includes(hostname)) return undefined;
  for (const name of await readdir(join(resolve(root), '.waylog')).catch(() => [])) {
    const record = await readRecord({ root, instance: name }).catch(() => undefined);
    // Another server may have taken the port by now.
    const isIts = record && String(record.port) === port && record.password === decodeURIComponent(password);
    if (isIts) return { name, record };
  }
  return undefined;
}

/** A program of the server's own major version, or else of a newer one. */
async function installed(url: string, tool: string, env: NodeJS.ProcessEnv): Promise<string> {
  const { versionNumber } = await connected(url, factsOf);
  const major = Math.floor(versionNumber / 10_000);
  const tree = await cachedTree(env);
  const places = [tool, `/usr/lib/postgresql/${major}/bin/${tool}`, ...(tree ? [join(tree.bin, tool)] : [])];
  const found: { program: string; version: number }[] = [];
  for (const program of places) {
    const version = await majorOf(program, env);
    if (version === major) return program;
    if (version !== undefined && version > major) found.push({ program, version });
  }
  const [newer] = found.sort((a, b) => a.version - b.version);
  if (newer) return newer.program;
  throw new DatabaseError('database.tool', {
    what: `There is no ${tool} here that goes with PostgreSQL ${major} (${withoutPassword(url)}).`,
    why: `Neither the PATH, nor /usr/lib/postgresql/${major}/bin, nor Waylog's cache (which has version ${PRIVATE_MAJOR} where it was ever unpacked) has one of version ${major} or newer.`,
    todo: `Install PostgreSQL's client programs of version ${major} (Debian: postgresql-client-${major}) and run this again.`,
  });
}

/** The major version of a program; undefined if it cannot be run. */
async function majorOf(program: string, env: NodeJS.ProcessEnv): Promise<number | undefined> {
  const said = await run(program, ['--version'], { env, timeoutMs: 10_000 }).catch(() => '');
  const [, major] = /\(PostgreSQL\) (\d+)/.exec(said) ?? [];
  return major === undefined ? undefined : Number(major);
}

const databaseOf = (url: string): string => decodeURIComponent(new URL(url).pathname.slice(1));

/** A connection URL as the environment variables that PostgreSQL's programs read. */
export function libpqEnv(url: string): NodeJS.ProcessEnv {
  const { hostname, port, username, password, searchParams } = new URL(url);
  const given = (variable: string, parameter: string) => {
    const value = searchParams.get(parameter);
    return value ? { [variable]: value } : {};
  };
  return {
    PGHOST: hostname,
    PGPORT: port || '5432',
    PGUSER: decodeURIComponent(username),
    // Without a password in the URL, that of the environment or of the password file is used.
    ...(password && { PGPASSWORD: decodeURIComponent(password) }),
    PGDATABASE: databaseOf(url),
    ...tlsEnv(searchParams.get('sslmode'), searchParams),
    ...given('PGSSLCERT', 'sslcert'),
    ...given('PGSSLKEY', 'sslkey'),
  };
}

/**
 * Makes programs check a certificate as this process does: node-postgres treats `prefer`, `require` and `verify-ca` as
 * `verify-full`, and its `no-verify` is their `require`. Without a certificate authority in the URL the system's are
 * trusted, which programs from version 16 on support.
 */
function tlsEnv(mode: string | null, params: URLSearchParams): NodeJS.ProcessEnv {
  const root = params.get('sslrootcert');
  const authority = root ? { PGSSLROOTCERT: root } : {};
  if (!mode) return root ? { PGSSLMODE: 'verify-full', ...authority } : {};
  if (mode === 'no-verify') return { PGSSLMODE: 'require' };
  const isChecked = ['prefer', 'require', 'verify-ca', 'verify-full'].includes(mode);
  if (!isChecked || params.get('uselibpqcompat') === 'true') return { PGSSLMODE: mode, ...authority };
  return { PGSSLMODE: 'verify-full', PGSSLROOTCERT: 'system', ...authority };
}
