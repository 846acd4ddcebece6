import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { endClient } from '#lib/platform';
import { writeRows } from './chunk-file.js';

describe('files of chunks', () => {
  it('fail visibly when the disk is full in the middle of a copy, and leave nothing under their name', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'waylog-chunk-file-'));
    const client = new pg.Client({ connectionString: process.env['WAYLOG_TEST_DATABASE_URL'] });
    client.on('error', () => undefined);
    await client.connect();
    try {
      const path = join(directory, 'rows.csv.gz');
      // A folder has the name under which the file is written first.
      await mkdir(`${path}.partial`);
      await expect(
        writeRows(client, 'select n, repeat(md5(n::text), 10) from generate_series(1, 300000) n', path),
      ).rejects.toMatchObject({ code: 'EISDIR' });
      expect(await readdir(directory)).toEqual(['rows.csv.gz.partial']);
    } finally {
      await endClient(client);
      await rm(directory, { recursive: true });
    }
  });
});
