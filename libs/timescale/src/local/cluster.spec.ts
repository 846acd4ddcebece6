import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { treeAt } from './binaries.js';
import { MAX_LOCKS, writeSettings } from './cluster.js';
import { serverUser } from './server-user.js';

describe('the settings of a server that Waylog starts', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-cluster-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('leave room for the locks of some thousand chunks, like those of docker-compose.yml', async () => {
    await mkdir(join(folder, 'data'));
    const record = {
      source: 'private',
      port: 1,
      password: 'x',
      folder,
      socket: folder,
      tree: folder,
    } as const;
    await writeSettings(record, await serverUser(join(folder, 'data')), treeAt(folder));
    const written = await readFile(join(folder, 'data', 'waylog.conf'), 'utf8');
    expect(written).toContain(`max_locks_per_transaction = ${MAX_LOCKS}`);
    expect(await readFile('docker-compose.yml', 'utf8')).toContain(
      `-cmax_locks_per_transaction=${MAX_LOCKS}`,
    );
    // A table and its shadow, a chunk with two indexes, and another table for long values with its own.
    expect(2 * 3_000 * (3 + 2)).toBeLessThan((200 * MAX_LOCKS) / 2);
  });
});
