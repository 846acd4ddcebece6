import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FoundPgBouncer } from './find-pgbouncer.js';

export interface PgBouncer {
  /** The database of a URL, through the pooler. */
  readonly url: (databaseUrl: string) => string;
  readonly stop: () => Promise<void>;
}

/** Root cannot run it: then it runs as the user nobody. */
const NOBODY = 65_534;

/**
 * A PgBouncer in front of a server, with only the required settings: every login of the server is a login of the
 * pooler. With a `poolSize` it uses at most that many connections to the server.
 */
export async function startPgBouncer(
  found: Exclude<FoundPgBouncer, { why: string }>,
  serverUrl: string,
  mode: 'session' | 'transaction' | 'statement',
  { poolSize = 60, extra = '' } = {},
): Promise<PgBouncer> {
  const { hostname, port, username, password } = new URL(serverUrl);
  const folder = await mkdtemp(join(tmpdir(), 'waylog-pgbouncer-'));
  const listenPort = await freePort();
  const user = decodeURIComponent(username);
  await writeFile(
    join(folder, 'pgbouncer.ini'),
    `[databases]
* = host=${hostname} port=${port || '5432'}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listenPort}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${folder}/users.txt
auth_user = ${user}
pool_mode = ${mode}
default_pool_size = ${poolSize}
max_client_conn = 1000
${extra}
`,
  );
  await writeFile(join(folder, 'users.txt'), `"${user}" "${decodeURIComponent(password)}"\n`);
  const asRoot = process.getuid?.() === 0;
  if (asRoot)
    for (const file of ['', 'pgbouncer.ini', 'users.txt']) await chown(join(folder, file), NOBODY, NOBODY);
  const child = spawn(found.program, [join(folder, 'pgbouncer.ini')], {
    cwd: folder,
    env: { ...process.env, ...(found.libraries && { LD_LIBRARY_PATH: found.libraries }) },
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(asRoot && { uid: NOBODY, gid: NOBODY }),
  });
  const ended = once(child, 'exit');
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (data: Buffer) => {
      said += data.toString();
      if (said.includes('process up')) resolve();
    });
    ended.then(() => reject(new Error(`PgBouncer ended before it listened:\n${said}`)), reject);
  });
  return {
    url: (databaseUrl) => {
      const url = new URL(databaseUrl);
      url.host = `127.0.0.1:${listenPort}`;
      return url.href;
    },
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
      await rm(folder, { recursive: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
