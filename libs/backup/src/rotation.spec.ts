import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { BackupManifest } from './manifest.js';
import { prune, scheduledBackups } from './rotation.js';

describe('old backups', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-rotation-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** A backup of a day in November, as it lies in the folder. */
  const backup = async (day: number, changes: Partial<BackupManifest> = {}): Promise<string> => {
    const date = `202611${String(day).padStart(2, '0')}`;
    const { database = 'waylog' } = changes;
    const name = `${database}-${date}T021500-000Z.dump${changes.format === 2 ? '.age' : ''}`;
    const dump = `the dump of ${name}`;
    const manifest: BackupManifest = {
      format: 1,
      createdAt: `2026-11-${date.slice(6)}T02:15:00.000Z`,
      waylog: '0.1.0',
      postgresql: '17.11',
      timescaledb: '2.19.3',
      edition: 'apache',
      database,
      server: '7',
      scheduled: true,
      migrations: [],
      roles: [],
      log: { position: '1', events: 1, streams: 1, hash: '1:1' },
      tables: {},
      dump: {
        file: name,
        bytes: dump.length,
        sha256: createHash('sha256').update(dump).digest('hex'),
      },
      ...changes,
    };
    await writeFile(join(folder, name), dump);
    await writeFile(join(folder, `${name}.json`), JSON.stringify(manifest));
    return join(folder, name);
  };
  const names = async () => (await readdir(folder)).filter((name) => !name.endsWith('.json')).sort();
  const damage = async (file: string) => {
    const bytes = await readFile(file);
    bytes[3]! ^= 1;
    await writeFile(file, bytes);
  };

  it('go when there are enough newer ones, with their manifests', async () => {
    const [first, second, third] = [await backup(1), await backup(2, { format: 2 }), await backup(3)];
    expect(await prune({ folder, keep: 3 })).toEqual({
      kept: [third, second, first],
      removed: [],
      damaged: [],
      ahead: [],
    });
    expect(await prune({ folder, keep: 1, dryRun: true })).toMatchObject({ removed: [second, first] });
    expect(await readdir(folder)).toHaveLength(6);
    expect(await prune({ folder, keep: 2 })).toEqual({
      kept: [third, second],
      removed: [first],
      damaged: [],
      ahead: [],
    });
    expect(await readdir(folder)).toHaveLength(4);
    await expect(prune({ folder, keep: 0 })).rejects.toThrow('At least one');
  });

  it('stay while the newer ones are broken, of which none counts and none is removed', async () => {
    const [first, second, third, fourth, fifth] = [1, 2, 3, 4, 5].map((day) => backup(day));
    // Another size, no dump, and the very size.
    await writeFile((await fifth)!, 'cut off');
    await rm((await fourth)!);
    await damage((await third)!);
    expect(await prune({ folder, keep: 1 })).toEqual({
      kept: [await second],
      removed: [await first],
      damaged: [await third],
      ahead: [],
    });
    expect(await names()).toEqual([await second, await third, await fifth].map((file) => basename(file!)));
    // Not even the last one that is whole goes.
    await damage((await second)!);
    const again = await backup(1);
    expect(await prune({ folder, keep: 1 })).toMatchObject({ kept: [again], removed: [] });
    await damage(again);
    expect(await prune({ folder, keep: 1 })).toMatchObject({ kept: [], removed: [] });
  });

  it('of another database, of no series, and of somebody else stay', async () => {
    const mine = [await backup(10), await backup(9)];
    const others = [
      await backup(1, { database: 'other' }),
      await backup(2, { server: '8' }),
      await backup(3, { scheduled: false }),
    ];
    // A copy under a name of its own; a link; a manifest that is none; and what is no backup at all.
    const copy = join(folder, 'before-the-move.dump');
    const copied = await backup(4);
    await rename(copied, copy);
    await rename(`${copied}.json`, `${copy}.json`);
    await writeFile(join(folder, 'notes.txt'), 'precious');
    await writeFile(join(folder, 'theirs.dump'), 'precious');
    await writeFile(join(folder, 'theirs.dump.json'), '{"format":1,"scheduled":true}');
    const of = { database: 'waylog', server: '7' };
    expect(await prune({ folder, keep: 1, of })).toMatchObject({ kept: [mine[0]], removed: [mine[1]] });
    expect(await names()).toEqual(
      [...others, mine[0]!, copy, 'notes.txt', 'theirs.dump'].map((file) => basename(file)).sort(),
    );
    expect((await scheduledBackups(folder)).map(({ file }) => file).sort()).toEqual(
      [mine[0], others[0], others[1]].sort(),
    );
    // By hand, each database for itself.
    await backup(11, { database: 'other' });
    expect(await prune({ folder, keep: 1 })).toMatchObject({ removed: [others[0]] });
  });

  it('that a link leads to are not counted', async () => {
    const [old, linked] = [await backup(1), await backup(2)];
    await rename(linked, join(folder, 'elsewhere'));
    await symlink(join(folder, 'elsewhere'), linked);
    expect(await prune({ folder, keep: 1 })).toEqual({
      kept: [old],
      removed: [],
      damaged: [linked],
      ahead: [],
    });
  });

  it('of which a kill has left half go after a day', async () => {
    await backup(9);
    const leave = async (name: string, ageHours: number) => {
      await writeFile(join(folder, name), 'half');
      const at = new Date(Date.now() - ageHours * 3_600_000);
      await utimes(join(folder, name), at, at);
      return join(folder, name);
    };
    const left = await leave('waylog-20261101T021500-000Z.dump.age.partial', 25);
    for (const name of [
      'waylog-20261102T021500-000Z.dump.partial',
      'other-20261101T021500-000Z.dump.partial',
      'waylog-mine.dump.partial',
    ])
      await leave(name, name.startsWith('waylog-2026') ? 1 : 25);
    const made = join(folder, 'waylog-20261103T021500-000Z.dump.partial');
    await mkdir(made);
    await utimes(made, 0, 0);
    expect(await prune({ folder, keep: 7 })).toMatchObject({ removed: [left] });
    expect((await names()).filter((name) => name.endsWith('.partial'))).toHaveLength(4);
  });

  it('do not count when they were taken in the future, and the one just taken stays whatever its time', async () => {
    const wrong = await backup(9, { createdAt: '2099-01-01T00:00:00.000Z' });
    const [first, second, third] = [await backup(1), await backup(2), await backup(3)];
    expect(await prune({ folder, keep: 1, taken: first })).toEqual({
      kept: [third],
      removed: [second],
      damaged: [],
      ahead: [wrong],
    });
    expect(await names()).toEqual([first, third, wrong].map((file) => basename(file)));
  });
});
