import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateHybridIdentity, generateIdentity, identityToRecipient } from 'age-encryption';
import {
  backUp,
  listBackups,
  readIdentities,
  recipientsOf,
  restore,
  verifyBackup,
  type Backup,
  type FindTool,
} from '#lib/backup';
import { CreateFlight } from '#lib/flight';
import { serverTool } from '#lib/timescale';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { aFlight } from './support/samples.js';
import { tableHashes } from './support/tables.js';
import { startWaylog } from './support/waylog.js';

const findTool: FindTool = (url, tool, args) =>
  serverTool(url, tool, args, { root: process.cwd(), env: process.env });

/** The first bytes of pg_dump's custom format. */
const PG_DUMP = 'PGDMP';
const AGE = 'age-encryption.org/v1\n';

describe('an encrypted backup', () => {
  let database: TestDatabase;
  let folder: string;
  let backup: Backup;
  let identity: string;
  let other: string;
  let recipients: string[];
  /** The first bytes of every file that was seen in the folder while the backup was written. */
  const seen = new Set<string>();

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-encrypted-'));
    [identity, other] = [await generateIdentity(), await generateIdentity()];
    recipients = [await identityToRecipient(identity), await identityToRecipient(await generateIdentity())];
    database = await testDatabase();
    const waylog = await startWaylog(database.url);
    await waylog.execute(new CreateFlight({ flight: aFlight('secret', 20) }));
    await waylog.close();
    backup = await backUp({
      url: database.url,
      to: folder,
      findTool,
      recipients,
      waylog: 'test',
      onProgress: () => {
        for (const name of readdirSync(folder))
          seen.add(readFileSync(join(folder, name), 'latin1').slice(0, AGE.length));
      },
    });
  });
  afterAll(async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  });
  const urlOf = (name: string) => Object.assign(new URL(testServerUrl()), { pathname: `/${name}` }).href;

  it('is never unencrypted on disk, not even in part', async () => {
    expect(backup.file).toMatch(/\.dump\.age$/);
    expect((await readFile(backup.file, 'latin1')).startsWith(AGE)).toBe(true);
    expect([...seen].filter((start) => start !== '')).toEqual(seen.has(AGE) ? [AGE] : []);
    for (const name of readdirSync(folder))
      expect(await readFile(join(folder, name), 'latin1')).not.toContain(PG_DUMP);
  });

  it('names its recipients in its manifest, which is readable', async () => {
    expect(backup.manifest).toMatchObject({
      // A Waylog without encryption must not take it for a dump.
      format: 2,
      dump: { encryption: { format: 'age', recipients } },
    });
    expect(JSON.parse(await readFile(`${backup.file}.json`, 'utf8'))).toEqual(backup.manifest);
    expect(await listBackups(folder)).toEqual([backup]);
  });

  it('is restored equal with the key of any recipient, and with no other', async () => {
    const name = `waylog_test_encrypted_${process.pid}`;
    try {
      const identities = [other, identity];
      const result = await restore({ file: backup.file, into: urlOf(name), findTool, identities });
      expect(result.differences).toEqual([]);
      expect(await tableHashes(urlOf(name))).toEqual(await tableHashes(database.url));
    } finally {
      await database.pool.query(`drop database if exists ${name} with (force)`);
    }
    const look = { file: backup.file, url: testServerUrl(), findTool };
    await expect(verifyBackup(look)).rejects.toMatchObject({
      code: 'backup.encrypted',
      message: expect.stringContaining(recipients[0]!),
    });
    await expect(verifyBackup({ ...look, identities: [other] })).rejects.toMatchObject({
      code: 'backup.wrong-identity',
    });
  });

  it('is found to be damaged without any key that opens it', async () => {
    const damaged = join(folder, 'damaged.dump.age');
    const bytes = await readFile(backup.file);
    bytes[bytes.length - 5]! ^= 1;
    await writeFile(damaged, bytes);
    await writeFile(`${damaged}.json`, JSON.stringify(backup.manifest));
    await expect(
      verifyBackup({ file: damaged, url: testServerUrl(), findTool, identities: [other] }),
    ).rejects.toMatchObject({ code: 'backup.damaged' });
    // An attacker who changes the manifest too does not get past the encryption.
    const { createHash } = await import('node:crypto');
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const dump = { ...backup.manifest.dump, sha256 };
    await writeFile(`${damaged}.json`, JSON.stringify({ ...backup.manifest, dump }));
    await expect(
      verifyBackup({ file: damaged, url: testServerUrl(), findTool, identities: [identity] }),
    ).rejects.toMatchObject({ code: 'backup.tool-failed' });
    for (const path of [damaged, `${damaged}.json`]) await rm(path);
  });

  it('is encrypted for public keys, which are distinguished from secret ones', async () => {
    const hybrid = await identityToRecipient(await generateHybridIdentity());
    expect(recipientsOf(` ${recipients.join(', ')},${recipients[0]!},${hybrid} `)).toEqual([
      ...recipients,
      hybrid,
    ]);
    expect(recipientsOf('')).toEqual([]);
    for (const wrong of ['age1wrong', `${recipients[0]!}q`, 'age1tag1qqqq', 'ssh-ed25519 AAAA', 'somebody'])
      expect(() => recipientsOf(wrong)).toThrow(/is no public key of age/);
    expect(() => recipientsOf(identity)).toThrow(/private key/);
    expect(() => recipientsOf(identity)).not.toThrow(identity.slice(20, 40));

    const file = join(folder, 'key.txt');
    await writeFile(file, `# created: today\n# public key: ${recipients[0]!}\n${identity}\r\n\n`);
    expect(await readIdentities(file)).toEqual([identity]);
    for (const text of ['', '# nothing', recipients[0]!, `${AGE}-> scrypt`, `${identity}x`]) {
      await writeFile(file, text);
      await expect(readIdentities(file)).rejects.toMatchObject({ code: 'backup.identity-invalid' });
      await expect(readIdentities(file)).rejects.not.toThrow(identity.slice(20, 40));
    }
    await expect(readIdentities(join(folder, 'none'))).rejects.toMatchObject({
      code: 'backup.identity-invalid',
    });
    await rm(file);
  });

  it('reports a full disk, and leaves nothing', async () => {
    const { symlink } = await import('node:fs/promises');
    await symlink('/dev/full', join(folder, 'full.dump.age.partial'));
    const to = join(folder, 'full.dump.age');
    await expect(
      backUp({ url: database.url, to, findTool, recipients, waylog: 'test' }),
    ).rejects.toMatchObject({ code: 'backup.not-written', message: expect.stringContaining('ENOSPC') });
    expect(readdirSync(folder).filter((name) => name.startsWith('full'))).toEqual([]);
    await expect(
      backUp({ url: database.url, to: join(folder, 'a.dump'), findTool, recipients, waylog: 'test' }),
    ).rejects.toMatchObject({ code: 'backup.bad-name' });
  });
});
