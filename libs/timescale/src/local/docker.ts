import { randomBytes } from 'node:crypto';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ensureDatabase } from './connect.js';
import { DatabaseError, reasonOf } from './database-error.js';
import { isThere } from './files.js';
import { type DockerRecord, hashOf, type Instance, urlOf, writeRecord } from './instance.js';
import { freePort, isFree } from './ports.js';
import { type Progress, step } from './progress.js';
import { run, type RunOptions } from './run.js';

const SERVICE = 'database';

/** A program to start, with its arguments and environment. */
export interface Command {
  readonly program: string;
  readonly args: string[];
  readonly env: NodeJS.ProcessEnv;
}

/** Why Docker cannot be used here, as a sentence; undefined if it can. */
export async function dockerUnusable(
  { root }: Pick<Instance, 'root'>,
  env: NodeJS.ProcessEnv,
): Promise<string | undefined> {
  if (!(await isThere(composeFile(root)))) return `${composeFile(root)} is not there`;
  try {
    const version = await run('docker', ['info', '--format', '{{.ServerVersion}}'], {
      env,
      timeoutMs: 3_000,
    });
    // Some clients return 0 and print nothing if there is no engine.
    if (!version.trim()) return 'the Docker client is there, but no Docker engine answers';
  } catch (error) {
    return /ENOENT/.test(reasonOf(error))
      ? 'docker is not installed'
      : 'no Docker engine answers `docker info` within 3 s';
  }
  try {
    await run('docker', ['compose', 'version'], { env, timeoutMs: 3_000 });
  } catch {
    return 'the Docker engine answers, but the client has no `docker compose` (install its compose plugin)';
  }
  return undefined;
}

/** Starts the database service of docker-compose.yml and waits until it is healthy. The caller holds the instance's lock. */
export async function startDocker(
  of: Instance,
  known: DockerRecord | undefined,
  { env, progress, signal }: { env: NodeJS.ProcessEnv; progress: Progress; signal?: AbortSignal | undefined },
): Promise<DockerRecord> {
  let record: DockerRecord = known ?? {
    source: 'docker',
    port: await freePort(),
    password: randomBytes(18).toString('base64url'),
  };
  if (!(await isRunning(of, record, env))) {
    await step(progress, `starting TimescaleDB in Docker (${projectOf(of)})`, async () => {
      for (let attempt = 1; ; attempt++) {
        record = { ...record, port: await freePort(record.port) };
        await writeRecord(of, record);
        try {
          await compose(of, record, ['up', '-d', '--wait', SERVICE], env, { signal });
          return;
        } catch (error) {
          // Another process may have taken the port between the check and the start.
          if (attempt < 3 && !signal?.aborted && !(await isFree(record.port))) continue;
          throw signal?.aborted ? error : notStarted(of, error);
        }
      }
    });
  }
  try {
    await ensureDatabase((database) => urlOf(record, database), { ms: 60_000, signal });
  } catch (error) {
    throw signal?.aborted ? error : notStarted(of, error);
  }
  return record;
}

/**
 * Stops the container and keeps the data. `immediate` ends PostgreSQL without a checkpoint.
 *
 * @returns false if it did not run
 */
export async function stopDocker(
  of: Instance,
  record: DockerRecord,
  mode: 'fast' | 'immediate',
  env: NodeJS.ProcessEnv,
): Promise<boolean> {
  try {
    if (!(await isRunning(of, record, env))) return false;
    // The image's stop signal is SIGINT, PostgreSQL's fast shutdown; SIGQUIT is its immediate one.
    if (mode === 'fast') await compose(of, record, ['stop', '--timeout', '120', SERVICE], env);
    else await compose(of, record, ['kill', '--signal', 'SIGQUIT', SERVICE], env);
    const end = Date.now() + 120_000;
    while (await isRunning(of, record, env)) {
      if (Date.now() > end) throw new Error('the container still runs after 120 s');
      await sleep(100);
    }
  } catch (error) {
    throw new DatabaseError(
      'database.stop',
      {
        what: `The database container of ${projectOf(of)} did not stop.`,
        why: reasonOf(error),
        todo: `See \`docker compose -p ${projectOf(of)} ps\`.`,
      },
      { cause: error },
    );
  }
  return true;
}

/** Removes the container and its data. */
export async function deleteDocker(
  of: Instance,
  record: DockerRecord,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  try {
    await compose(of, record, ['down', '--volumes', '--timeout', '10'], env);
  } catch (error) {
    throw new DatabaseError(
      'database.stop',
      {
        what: `The database container of ${projectOf(of)} and its data were not removed.`,
        why: reasonOf(error),
        todo: 'Start Docker and run this again; or give up the data by removing the folder of the instance in .waylog.',
      },
      { cause: error },
    );
  }
}

export async function isRunning(
  of: Instance,
  record: DockerRecord,
  env: NodeJS.ProcessEnv,
): Promise<boolean> {
  return (await compose(of, record, ['ps', '--quiet', '--status', 'running', SERVICE], env)).trim() !== '';
}

/** A program of the image, run in the container: `psql`, `pg_dump`, ... */
export function dockerTool(
  of: Instance,
  record: DockerRecord,
  tool: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Command {
  const terminal = process.stdin.isTTY && process.stdout.isTTY ? [] : ['-T'];
  const inside = [
    'exec',
    ...terminal,
    '-e',
    'PGUSER=waylog',
    '-e',
    'PGDATABASE=waylog',
    SERVICE,
    tool,
    ...args,
  ];
  return { program: 'docker', args: composeArgs(of, inside), env: composeEnv(record, env) };
}

/** The command that shows the server's log. */
export const dockerLog = (of: Instance): string => `docker compose -p ${projectOf(of)} logs ${SERVICE}`;

/** The compose project: one per instance of a checkout. */
export const projectOf = (of: Instance): string => `waylog-${of.instance}-${hashOf(of.root)}`;

const composeFile = (root: string): string => join(resolve(root), 'docker-compose.yml');

const composeArgs = (of: Instance, args: readonly string[]): string[] => [
  ...['compose', '--project-name', projectOf(of), '--file', composeFile(of.root)],
  ...args,
];

const composeEnv = (record: DockerRecord, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({
  ...env,
  WAYLOG_DB_PORT: String(record.port),
  WAYLOG_DB_PASSWORD: record.password,
});

const compose = (
  of: Instance,
  record: DockerRecord,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  options: RunOptions = {},
): Promise<string> =>
  run('docker', composeArgs(of, args), { ...options, env: composeEnv(record, env), cwd: resolve(of.root) });

const notStarted = (of: Instance, error: unknown): DatabaseError =>
  new DatabaseError(
    'database.start',
    {
      what: `TimescaleDB did not start in Docker (${projectOf(of)}).`,
      why: reasonOf(error),
      todo: `See \`${dockerLog(of)}\`. If the data are of no use any more, \`waylog db reset --yes\` starts from scratch.`,
    },
    { cause: error },
  );
