import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PostgresEventStore, type NewEvent, type Vocabulary } from '#lib/event-store';
import { v7 } from 'uuid';
import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import {
  checkingKeys,
  newKeyPair,
  signingKey,
  storedDigests,
  takeDigest,
  verifyAudit,
  writeDigestFiles,
  type AuditOptions,
  type TakeDigestOptions,
} from './index.js';

const pair = newKeyPair();
const key = signingKey(pair.privateKey);
const keys = checkingKeys([pair.publicKey]);
const vocabulary: Vocabulary = {
  thing: { sensitive: { Private: { text: 'erased' } }, erasedBy: ['Erased'] },
};

describe('the audit of the log', () => {
  let database: TestDatabase;
  let store: PostgresEventStore;
  let digestFolder: string;
  const sql = (text: string) => database.pool.query(text);
  const audit = (more: Partial<AuditOptions> = {}) =>
    verifyAudit({ pool: database.pool, keys, vocabulary, ...more });
  const take = (more: Partial<TakeDigestOptions> = {}, by = key) =>
    takeDigest(database.pool, by, { vocabulary, ...more });

  const event = (n: number): NewEvent => {
    const id = v7();
    return {
      id,
      type: 'Noted',
      schemaVersion: 1,
      data: { n, text: `ünïcode "${n}" \\ \n 𝄞`, nothing: null },
      metadata: { commandId: id, correlationId: id, causationId: id, command: 'Note', actor: 'somebody' },
    };
  };
  // By a process that has seen nothing yet: a process that has would notice that the log was cut off.
  const append = (streamId: string, from: number, count: number) =>
    new PostgresEventStore({ pool: database.pool, listener: database.listener }).append([
      {
        streamId,
        expectedRevision: from === 0 ? 'no-stream' : from - 1,
        events: Array.from({ length: count }, (_, i) => event(from + i)),
      },
    ]);

  beforeAll(async () => {
    database = await testDatabase();
    store = new PostgresEventStore({ pool: database.pool, listener: database.listener });
    digestFolder = await mkdtemp(join(tmpdir(), 'waylog-audit-'));
    // Several in one call, one by one, of several streams together, and without an expected revision.
    await append('a', 0, 5);
    for (let n = 5; n < 8; n++) await append('a', n, 1);
    await Promise.all(['b', 'c', 'd'].map((streamId) => append(streamId, 0, 4)));
    await take();
    await Promise.all(['b', 'c'].map((streamId) => append(streamId, 4, 3)));
    await store.append([{ streamId: 'd', expectedRevision: 'any', events: [event(4), event(5)] }]);
    await take();
    await writeDigestFiles(database.pool, digestFolder, keys);
    await append('a', 8, 2);
  });
  afterAll(async () => {
    await store.close();
    await database.drop();
    await rm(digestFolder, { recursive: true });
  });

  it('finds no problem in an unchanged log, and says up to where it vouches for it', async () => {
    expect(await audit({ digestFolder })).toMatchObject({
      isSound: true,
      problems: [],
      events: 30,
      streams: 4,
      digests: 2,
      signed: 2,
      vouchedPosition: '28',
    });
  });

  it('signs nothing twice: a log that has not grown needs no digest', async () => {
    const client = await database.pool.connect();
    try {
      await client.query('begin');
      await client.query(`delete from log.events where position > 28`);
      await client.query('commit');
      const taken = await take();
      expect(taken).toMatchObject({ seen: { position: '28' }, isMore: false });
      expect(taken).not.toHaveProperty('digest');
    } finally {
      client.release();
      await append('a', 8, 2);
    }
  });

  /** What a superuser could do, undone afterwards. */
  const afterwards = async <T>(tampering: string, look: () => Promise<T>): Promise<T> => {
    const tables = ['events', 'streams', 'digests', 'digest_heads'];
    for (const table of tables) await sql(`create table kept_${table} as table log.${table}`);
    try {
      await sql(tampering);
      return await look();
    } finally {
      for (const table of tables) {
        const values = table === 'streams' ? 'overriding system value' : '';
        await sql(
          `truncate log.${table}; insert into log.${table} ${values} table kept_${table}; drop table kept_${table}`,
        );
      }
    }
  };
  const at = (stream: string, revision: string) =>
    `stream_key = (select stream_key from log.streams where stream_id = '${stream}') and revision ${revision}`;
  /** Computes the hashes of a stream again, as an attacker who knows the scheme would. */
  const rechained = (stream: string) => `
    update log.events e set hash = c.hash
      from (select position, log.chain(log.genesis('${stream}'),
                     log.canonical(position, revision, id, type, schema_version,
                                   (extract(epoch from recorded_at) * 1000000)::bigint, metadata::text, data::text))
                   over (order by revision) as hash
              from log.events where ${at(stream, '>= 0')}) c
     where c.position = e.position`;
  const contents = 'id, type, schema_version, recorded_at, data, metadata';
  const exchanged = (columns: string) => `
    update log.events e set (${columns}) = (select ${columns} from log.events o where ${at('a', '= case e.revision when 2 then 5 else 2 end').replaceAll('revision = case', 'o.revision = case')})
     where ${at('a', 'in (2, 5)')}`;

  it.each([
    [
      'data changed',
      `update log.events set data = '{"n":99}' where ${at('b', '= 2')}`,
      'event-changed',
      'b',
      2,
    ],
    [
      'one space more in the data',
      `update log.events set data = (data::text || ' ')::json where ${at('b', '= 2')}`,
      'event-changed',
      'b',
      2,
    ],
    [
      'another actor',
      `update log.events set metadata = replace(metadata::text, 'somebody', 'nobody')::json where ${at('a', '= 0')}`,
      'event-changed',
      'a',
      0,
    ],
    [
      'a microsecond of difference',
      `update log.events set recorded_at = recorded_at + interval '1 microsecond' where ${at('c', '= 6')}`,
      'event-changed',
      'c',
      6,
    ],
    ['another type', `update log.events set type = 'Other' where ${at('c', '= 1')}`, 'event-changed', 'c', 1],
    [
      'another id',
      `update log.events set id = gen_random_uuid() where ${at('c', '= 1')}`,
      'event-changed',
      'c',
      1,
    ],
    [
      'another schema version',
      `update log.events set schema_version = 2 where ${at('c', '= 1')}`,
      'event-changed',
      'c',
      1,
    ],
    ['an event taken out', `delete from log.events where ${at('b', '= 3')}`, 'event-removed', 'b', 3],
    [
      'an event taken out, and the others numbered anew',
      `delete from log.events where ${at('b', '= 3')};
       update log.events set revision = -revision where ${at('b', '> 3')}`.replace(
        /update.*/s,
        `alter table log.events drop constraint events_revision_check;
         update log.events set revision = -revision where ${at('b', '> 3')};
         update log.events set revision = -revision - 1 where ${at('b', '< 0')};
         alter table log.events add constraint events_revision_check check (revision >= 0)`,
      ),
      'event-removed',
      'b',
      3,
    ],
    [
      'an event put in, and the others numbered anew',
      `alter table log.events drop constraint events_revision_check;
       update log.events set revision = -revision where ${at('b', '>= 3')};
       update log.events set revision = -revision + 1 where ${at('b', '< 0')};
       alter table log.events add constraint events_revision_check check (revision >= 0);
       insert into log.events (position, stream_key, revision, ${contents}, hash)
       select (select max(position) + 1 from log.events), stream_key, 3, gen_random_uuid(), type, schema_version, recorded_at, data, metadata, hash
         from log.events where ${at('b', '= 2')}`,
      'event-inserted',
      'b',
      3,
    ],
    [
      'two events that have changed places',
      `alter table log.events drop constraint events_revision_check;
       update log.events set revision = -revision where ${at('a', 'in (2, 5)')};
       update log.events set revision = 7 + revision where ${at('a', '< 0')};
       alter table log.events add constraint events_revision_check check (revision >= 0)`,
      'events-reordered',
      'a',
      2,
    ],
    ['two events that have changed contents', exchanged(contents), 'events-reordered', 'a', 2],
    [
      'two events that have changed contents and hashes',
      exchanged(`${contents}, hash`),
      'events-reordered',
      'a',
      2,
    ],
    [
      'events of two streams that have changed positions',
      `update log.events set position = -position where ${at('b', '= 6')} or ${at('c', '= 6')};
       update log.events e set position = (select -o.position from log.events o where o.position < 0 and o.position <> e.position)
        where ${at('b', '= 6')};
       update log.events e set position = (select p from generate_series(1, 30) p where not exists (select from log.events where position = p))
        where ${at('c', '= 6')}`,
      'events-reordered',
      'b',
      6,
    ],
    [
      'a stream under another name',
      `update log.streams set stream_id = 'e' where stream_id = 'd'`,
      'event-changed',
      'e',
      0,
    ],
    [
      'an event changed, and all hashes of the stream made anew',
      `update log.events set data = '{"n":99}' where ${at('b', '= 2')}; ${rechained('b')}`,
      'stream-rewritten',
      'b',
      3,
    ],
    [
      'an event changed after the first digest, and all hashes made anew',
      `update log.events set data = '{"n":99}' where ${at('b', '= 5')}; ${rechained('b')}`,
      'stream-rewritten',
      'b',
      6,
    ],
    [
      'the end of a stream cut off',
      `delete from log.events where ${at('c', '> 4')}`,
      'event-removed',
      'c',
      5,
    ],
    [
      'a whole stream gone',
      `delete from log.events where ${at('c', '>= 0')}`,
      'stream-removed',
      'c',
      undefined,
    ],
    [
      'a stream without its name',
      `delete from log.streams where stream_id = 'd'`,
      'stream-removed',
      'd',
      undefined,
    ],
  ])('finds %s', async (_, tampering, code, streamId, revision) => {
    const result = await afterwards(tampering, audit);
    expect(result.isSound).toBe(false);
    const found = result.problems.filter((problem) => problem.streamId === streamId);
    expect(found.map((problem) => [problem.code, problem.revision])).toContainEqual([code, revision]);
    expect(await audit()).toMatchObject({ isSound: true });
  });

  it('reports one changed event as one problem', async () => {
    const { problems } = await afterwards(`update log.events set data = '{}' where ${at('a', '= 4')}`, audit);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.detail).toMatch(/^the event at revision 4 \(Noted [0-9a-f-]{36} at position 5\)/);
  });

  describe('the digests', () => {
    it.each([
      [
        'taken away',
        `delete from log.digests where number = 1; delete from log.digest_heads where digest = 1`,
        'digest-removed',
      ],
      [
        'changed',
        `update log.digests set document = replace(document, '"position":"28"', '"position":"27"') where number = 2`,
        'digest-changed',
      ],
      [
        'robbed of a head',
        `delete from log.digest_heads where digest = 2 and stream_id = 'b'`,
        'digest-changed',
      ],
      [
        'given another head',
        `update log.digest_heads set hash = sha256('') where digest = 2 and stream_id = 'b'`,
        'digest-changed',
      ],
      [
        'signed by somebody else',
        `update log.digests set key_id = '0123456789abcdef' where number = 2`,
        'digest-unsigned',
      ],
    ])('in the database are found to be %s', async (_, tampering, code) => {
      const { isSound, problems } = await afterwards(tampering, audit);
      expect(isSound).toBe(false);
      expect(problems.map((problem) => problem.code)).toContain(code);
    });

    it('cannot be forged without the key: a signature by another key is a problem', async () => {
      const other = signingKey(newKeyPair().privateKey);
      const { problems, vouchedPosition } = await afterwards(
        `update log.events set data = '{}' where ${at('b', '= 2')}; ${rechained('b')};
         truncate log.digests, log.digest_heads`,
        async () => {
          await take({}, other);
          return audit();
        },
      );
      expect(problems.map(({ code }) => code)).toEqual(['digest-unsigned']);
      expect(vouchedPosition).toBeUndefined();
    });

    it('are found to be deleted if a folder has them, and the log is compared with the files', async () => {
      const { problems } = await afterwards(
        `update log.events set data = '{}' where ${at('b', '= 2')}; ${rechained('b')};
         truncate log.digests, log.digest_heads`,
        () => audit({ digestFolder }),
      );
      expect(problems.map(({ code }) => code).sort()).toEqual([
        'digest-removed',
        'digest-removed',
        'stream-rewritten',
        'stream-rewritten',
      ]);
    });

    it('are found to be changed in a folder', async () => {
      const copy = await mkdtemp(join(tmpdir(), 'waylog-audit-'));
      try {
        for (const name of await readdir(digestFolder)) {
          const text = await readFile(join(digestFolder, name), 'utf8');
          await writeFile(
            join(copy, name),
            text.replace(String.raw`\"streams\":4`, String.raw`\"streams\":3`),
          );
        }
        const { problems } = await audit({ digestFolder: copy });
        expect(problems.map(({ code, detail }) => `${code} ${detail}`)).toContainEqual(
          'digest-changed digest 1 is not what its key has signed',
        );
      } finally {
        await rm(copy, { recursive: true });
      }
    });

    it('are not taken of a log whose chain does not hold', async () => {
      const [before, after] = await afterwards(
        `update log.events set data = '{}' where ${at('a', '= 9')}`,
        async () => {
          const count = (await storedDigests(database.pool)).length;
          await expect(take()).rejects.toMatchObject({
            code: 'audit.broken',
            message: expect.stringContaining('such as a: the event at revision 9') as string,
          });
          return [count, (await storedDigests(database.pool)).length];
        },
      );
      expect(after).toBe(before);
    });

    it('of another key are reported as unchecked if no key is given', async () => {
      expect(await audit({ keys: new Map() })).toMatchObject({
        isSound: true,
        digests: 2,
        signed: 0,
      });
    });
  });

  it('accept no other kind of key, and do not show the input', () => {
    expect(() => signingKey('secret-text')).toThrow(/no Ed25519 private key/);
    try {
      signingKey('secret-text');
    } catch (error) {
      expect(String(error)).not.toContain('secret-text');
    }
  });
});
