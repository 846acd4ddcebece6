import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { v7 } from 'uuid';
import {
  DataKeys,
  PostgresEventStore,
  SealedEventStore,
  type NewEvent,
  type RecordedEvent,
  type Vocabulary,
} from '#lib/event-store';
import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import {
  checkingKeys,
  newKeyPair,
  recordBreak,
  signingKey,
  statementOf,
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

/** Everything that a superuser can change, restored to what it was. */
const TABLES = [
  'log.events',
  'log.streams',
  'log.digests',
  'log.digest_heads',
  'log.data_keys',
  'log.snapshots',
  'log.histories',
  'log.losses',
  'projection.stream_revisions',
  'projection.checkpoints',
  'projection.folded_log',
];

describe('an attacker with all rights on the database', () => {
  let database: TestDatabase;
  let folder: string;
  const sql = (text: string) => database.pool.query(text);
  const audit = (more: Partial<AuditOptions> = {}) =>
    verifyAudit({ pool: database.pool, keys, vocabulary, ...more });
  const take = (more: Partial<TakeDigestOptions> = {}) =>
    takeDigest(database.pool, key, { vocabulary, ...more });

  const event = (n: number, type = 'Noted'): NewEvent => {
    const id = v7();
    return {
      id,
      type,
      schemaVersion: 1,
      data: { n, text: `note ${n}` },
      metadata: { commandId: id, correlationId: id, causationId: id, command: 'Note', actor: 'somebody' },
    };
  };
  const newStore = () =>
    new SealedEventStore(
      new PostgresEventStore({ pool: database.pool, listener: database.listener }),
      new DataKeys(database.pool, 1),
      vocabulary,
    );
  // By a process that has seen nothing yet: a process that has would notice that the log was cut off.
  const append = (streamId: string, from: number, count: number, type?: string) =>
    newStore().append([
      {
        streamId,
        expectedRevision: from === 0 ? 'no-stream' : from - 1,
        events: Array.from({ length: count }, (_, i) => event(from + i, type)),
      },
    ]);
  const at = (stream: string, revision: string) =>
    `stream_key = (select stream_key from log.streams where stream_id = '${stream}') and revision ${revision}`;
  const rechained = (stream: string) => `
    update log.events e set hash = c.hash
      from (select position, log.chain(log.genesis('${stream}'),
                     log.canonical(position, revision, id, type, schema_version,
                                   (extract(epoch from recorded_at) * 1000000)::bigint, metadata::text, data::text))
                   over (order by revision) as hash
              from log.events where ${at(stream, '>= 0')}) c
     where c.position = e.position`;
  const rewritten = (stream: string, revision = 1) =>
    `update log.events set data = '{"n":99}' where ${at(stream, `= ${revision}`)}; ${rechained(stream)}`;
  const planted = `
    insert into log.events
    select -1, (select stream_key from log.streams where stream_id = 'b'),
           (select coalesce(max(revision), -1) + 1 from log.events where ${at('b', '>= 0')}), gen_random_uuid(), type, schema_version,
           recorded_at, data, metadata, hash from log.events where ${at('a', '= 1')}`;
  /** As the projector records what it has folded. */
  const folded = `
    insert into projection.folded_log (projector, first_position, first_event_id, first_recorded_at)
    select 'flight', position::text, id, recorded_at from log.events order by position limit 1 on conflict do nothing;
    insert into projection.stream_revisions (projector, stream_id, revision)
    select 'flight', stream_id, max(revision) from log.events join log.streams using (stream_key) group by stream_id
        on conflict (projector, stream_id) do update set revision = excluded.revision;
    insert into projection.checkpoints (projector, projection, version, position)
    select 'flight', 'waypoints', 1, max(position)::text from log.events
        on conflict (projector, projection) do update set position = excluded.position`;

  const afterwards = async <T>(tampering: string, look: () => Promise<T>): Promise<T> => {
    const name = (table: string) => `kept_${table.replace('.', '_')}`;
    for (const table of TABLES) await sql(`create table ${name(table)} as table ${table}`);
    try {
      await sql(tampering);
      return await look();
    } finally {
      for (const table of TABLES) {
        const values = ['log.streams', 'log.losses'].includes(table) ? 'overriding system value' : '';
        await sql(
          `truncate ${table}; insert into ${table} ${values} table ${name(table)}; drop table ${name(table)}`,
        );
      }
    }
  };
  /** That the present state is found, by any audit, and not signed. */
  const refused = async (options: { take?: Partial<TakeDigestOptions>; folder?: string } = {}) => {
    const before = (await storedDigests(database.pool)).length;
    await expect(take({ folder: options.folder, ...options.take })).rejects.toMatchObject({
      code: 'audit.broken',
    });
    expect(await storedDigests(database.pool)).toHaveLength(before);
    const result = await audit({ digestFolder: options.folder });
    expect(result.isSound).toBe(false);
    return result;
  };
  const found = (tampering: string, options?: Parameters<typeof refused>[0]) =>
    afterwards(tampering, () => refused(options));

  beforeAll(async () => {
    database = await testDatabase();
    folder = await mkdtemp(join(tmpdir(), 'waylog-audit-'));
    // Positions 1 to 12, 13 to 18, and after the last digest 19 to 22.
    for (const stream of ['a', 'b', 'c']) await append(stream, 0, 3);
    await append('thing-p', 0, 2, 'Private');
    await append('thing-gone', 0, 1, 'Private');
    await take();
    await append('a', 3, 3);
    await append('d', 0, 3);
    await take();
    await writeDigestFiles(database.pool, folder, keys);
    await append('thing-gone', 1, 1, 'Erased');
    await append('b', 3, 2);
    await append('n', 0, 1);
    await sql(`delete from log.data_keys where stream_id = 'thing-gone'`);
    await sql(folded);
  });
  afterAll(async () => {
    await database.drop();
    await rm(folder, { recursive: true });
  });

  it('has done nothing yet: the audit finds nothing, and the next digest continues from there', async () => {
    expect(await audit({ digestFolder: folder })).toMatchObject({ problems: [], isSound: true, signed: 2 });
    await afterwards('select', async () => {
      const { digest } = await take({ folder });
      expect(digest && statementOf(digest.document)).toMatchObject({
        number: 3,
        position: '22',
        walk: { digest: 3 },
      });
      expect(await audit()).toMatchObject({ isSound: true, vouchedPosition: '22' });
    });
  });

  it.each([
    ['an old event of a stream that has not grown since', rewritten('c'), 'stream-rewritten', '0'],
    ['an old event of a stream that has', rewritten('b'), 'stream-rewritten', '0'],
    ['an event behind the first digest', rewritten('d'), 'stream-rewritten', '12'],
    [
      'an old event and what the digest has noted of it',
      `${rewritten('c', 1)};
       update log.digest_heads h set hash = (select hash from log.events where ${at('c', '= 2')}) where stream_id = 'c'`,
      'digest-changed',
      '0',
    ],
    [
      'an old event and all that digests have noted of it',
      `${rewritten('b', 1)}; delete from log.digest_heads where stream_id = 'b'`,
      'digest-changed',
      '0',
    ],
    [
      'the position of the last digest, so that the log seems not to have grown',
      `update log.digests set document = replace(document, '"position":"18"', '"position":"999999999"') where number = 2`,
      'digest-changed',
      '12',
    ],
    [
      'a digest in the middle away',
      `delete from log.digests where number = 1; delete from log.digest_heads where digest = 1`,
      'digest-removed',
      '0',
    ],
    [
      'a forged digest in',
      `insert into log.digests values (3, replace((select document from log.digests where number = 2), '"number":2', '"number":3'), 'f00d', 'x')`,
      'digest-unsigned',
      '18',
    ],
    [
      'a forged digest in with the highest number there is',
      `insert into log.digests values (2147483647, replace((select document from log.digests where number = 2), '"number":2', '"number":2147483647'), 'f00d', 'x')`,
      'digest-unsigned',
      '18',
    ],
    [
      'an event of the log away, and one of another stream in its place',
      `update log.events set stream_key = (select stream_key from log.streams where stream_id = 'd'), revision = 3 where ${at('a', '= 5')};
       ${rechained('d')}`,
      'event-removed',
      '12',
    ],
    ['an event in below the first position, at the end of a stream', planted, 'event-inserted', '0'],
    [
      'a whole stream in below the first position',
      `insert into log.streams (stream_id) values ('z'); ${planted.replaceAll(`'b'`, `'z'`)}`,
      'event-inserted',
      '0',
    ],
  ])(
    'changes %s: the audit finds it, signs nothing, and vouches only for what is proved',
    async (_, tampering, code, upTo) => {
      const { problems, vouchedPosition } = await found(tampering);
      expect(problems.map((problem) => problem.code)).toContain(code);
      expect(vouchedPosition ?? '0').toBe(upTo);
    },
  );

  it.each([
    ['a time that never comes', `recorded_at = 'infinity'`],
    ['a time that never was', `recorded_at = '-infinity'`],
    ['the last time that there is', `recorded_at = '294276-12-31 23:59:59+00'`],
    ...['recorded_at', 'data', 'metadata', 'type', 'id', 'schema_version', 'hash'].map(
      (column): [string, string] => [`no ${column}`, `${column} = null`],
    ),
  ])('gives an event %s: the audit names it and continues', async (_, change) => {
    const [column] = change.split(' ');
    const { problems } = await found(
      `alter table log.events alter column ${column} drop not null;
       update log.events set ${change} where position = 5; ${rewritten('d')}`,
    );
    expect(problems).toContainEqual(
      expect.objectContaining({
        code: column === 'hash' ? 'chain-broken' : 'event-changed',
        streamId: 'b',
        revision: 1,
      }),
    );
    expect(problems).toContainEqual(expect.objectContaining({ code: 'stream-rewritten', streamId: 'd' }));
  });

  describe('drops the constraints', () => {
    const free = `
      alter table log.events drop constraint events_pkey, drop constraint events_stream_key_revision_key;
      alter table log.events alter column position drop not null, alter column stream_key drop not null, alter column revision drop not null`;
    afterEach(async () => {
      await sql(`
        alter table log.events add constraint events_pkey primary key (position),
                               add constraint events_stream_key_revision_key unique (stream_key, revision),
                               alter column stream_key set not null, alter column revision set not null`);
    });

    it.each([
      [
        'an event at no position',
        `update log.events set position = null where position = 5`,
        'event-inserted',
      ],
      [
        'an event of no stream',
        `update log.events set stream_key = null where position = 5`,
        'stream-unnamed',
      ],
      [
        'an event without a revision',
        `update log.events set revision = null where position = 5`,
        'event-removed',
      ],
    ])('and leaves %s: the audit finds it', async (_, tampering, code) => {
      const { problems } = await found(`${free}; ${tampering}`);
      expect(problems.map((problem) => problem.code)).toContain(code);
    });

    it('and adds a second name for a stream: the audit finds it', async () => {
      const { problems } = await found(
        `${free}; alter table log.streams drop constraint streams_pkey;
         insert into log.streams (stream_key, stream_id) overriding system value
         select stream_key, 'z' from log.streams where stream_id = 'c'`,
      );
      await sql('alter table log.streams add primary key (stream_key)');
      expect(problems).toContainEqual(expect.objectContaining({ streamId: 'z' }));
    });

    it('and inserts a second event at the last position of a page: the audit finds it', async () => {
      await afterwards('select', async () => {
        await append('e', 0, 5_000);
        await append('e', 5_000, 4_978);
        await append('e', 9_978, 50);
        await sql(`${free}; ${planted.replace('-1', '10000').replace('hash from', `'\\x00' from`)}`);
        const { problems } = await refused();
        expect(problems).toContainEqual(
          expect.objectContaining({
            code: 'event-inserted',
            detail: expect.stringContaining('at position 10000, where there is another one') as string,
          }),
        );
      });
    });
  });

  it('inserts an event far after the end of the log: the audit reports the gap, however large', async () => {
    const { problems } = await found(`${planted.replace('-1', '3000000')}; ${rechained('b')}`);
    expect(problems[0]?.detail).toBe('positions 23 to 2999999 are missing');
  });

  it('removes the signature of a digest, or the hash of heads', async () => {
    for (const [table, column] of [
      ['digests', 'signature'],
      ['digests', 'document'],
      ['digest_heads', 'hash'],
    ] as const) {
      const { problems } = await found(
        `alter table log.${table} alter column ${column} drop not null;
         update log.${table} set ${column} = null where ${table === 'digests' ? 'number' : 'digest'} = 2`,
      );
      expect(problems).toContainEqual(expect.objectContaining({ code: 'digest-changed' }));
    }
  });

  it('deletes all digests: the folder still has them, and so has a running server', async () => {
    const gone = `truncate log.digests, log.digest_heads`;
    const { problems, vouchedPosition } = await found(gone, { folder });
    expect(problems.map(({ code }) => code)).toEqual(['digest-removed', 'digest-removed']);
    expect(vouchedPosition).toBeUndefined();
    const digest = (await storedDigests(database.pool)).at(-1);
    await afterwards(gone, async () => {
      await expect(take({ seen: { digest, position: '22', hash: undefined } })).rejects.toMatchObject({
        code: 'audit.broken',
      });
    });
  });

  describe('cuts off the end of the log', () => {
    it.each([
      ['the end of a stream', `delete from log.events where position > 20`, 'b'],
      ['the newest stream', `delete from log.events where position > 21`, 'n'],
    ])('%s: the tables have folded more', async (_, tampering, streamId) => {
      const { problems } = await found(tampering);
      expect(problems).toContainEqual(
        expect.objectContaining({
          code: 'event-removed',
          streamId,
          detail: expect.stringContaining('the tables have folded revision') as string,
        }),
      );
    });

    it('and lets it grow again: positions have no gap, and the tables have still folded more', async () => {
      await afterwards(`delete from log.events where position > 19`, async () => {
        await append('e', 0, 5);
        await expect(take()).rejects.toMatchObject({ code: 'audit.broken' });
        const { problems } = await audit();
        expect(problems.map(({ streamId }) => streamId)).toEqual(['b', 'n']);
      });
    });

    it('and the records of the tables: a running server knows it, or a client that has an answer', async () => {
      const tampering = `delete from log.events where position > 19; truncate projection.stream_revisions, projection.checkpoints`;
      await afterwards(tampering, async () => {
        await expect(
          take({ seen: { digest: undefined, position: '22', hash: undefined } }),
        ).rejects.toMatchObject({
          code: 'audit.broken',
        });
        // That is all there is: after the last digest nothing else proves it.
        expect(await audit()).toMatchObject({ isSound: true });
        const { problems } = await audit({ atLeast: [{ position: '22' }] });
        expect(problems[0]?.detail).toBe('somebody was answered position 22; the log ends at position 19');
      });
    });

    const cut = `delete from log.events where position > 19; truncate projection.stream_revisions, projection.checkpoints`;
    /** As the next append by a process that has seen position 22 does. */
    const goesOn = `${cut}; select log.begin_history(22, gen_random_uuid())`;

    it('and lets the log continue in another history: no digest covers what was before, and an answered position is lost', async () => {
      const seen = (await take({ isDue: () => false })).seen;
      expect(seen.position).toBe('22');
      await afterwards(goesOn, async () => {
        await append('e', 0, 1);
        const begun = expect.objectContaining({ code: 'history-begun' }) as unknown;
        const { problems, vouchedPosition } = await refused();
        expect(problems).toEqual([begun]);
        expect(problems[0]?.detail).toMatch(/^behind position 19 the log went on .* at position \d{16}, /);
        expect(vouchedPosition).toBe('18');
        expect((await audit({ atLeast: [{ position: '22' }, { position: '19' }] })).problems).toEqual([
          begun,
          expect.objectContaining({
            code: 'event-removed',
            detail: 'somebody was answered position 22; there is none in the log, which goes on beyond it',
          }),
        ]);
        await expect(take({ seen })).rejects.toMatchObject({
          data: {
            problems: [
              expect.objectContaining({
                detail: expect.stringContaining('this process has seen an event at position 22') as string,
              }),
              begun,
            ],
          },
        });
        // An operator records what it was: signed, so that every later audit reports it too.
        const record = { vocabulary, by: 'Ada', why: 'a fail-over' };
        const { fingerprint } = await recordBreak(database.pool, key, record);
        await recordBreak(database.pool, key, { ...record, findings: fingerprint });
        await append('e', 1, 1);
        expect((await take({ seen })).digest?.number).toBe(4);
        const { isSound, breaks } = await audit();
        expect([isSound, breaks.map(({ problems: known }) => known)]).toEqual([true, [[begun]]]);
        // Another break after it is not known.
        await sql(
          `select log.begin_history(22, gen_random_uuid()); update log.histories set written_by = 'x'`,
        );
        await sql(`select log.begin_history(null, null)`);
        await append('e', 2, 1);
        expect((await refused()).problems).toEqual([begun]);
      });
    });

    it('and lets its positions be used again: a client that names the stream of one, and a running server, know another event', async () => {
      const { seen } = await take({ isDue: () => false });
      await afterwards(cut, async () => {
        await append('e', 0, 5);
        expect(await audit({ atLeast: [{ position: '22' }] })).toMatchObject({ isSound: true });
        const { problems } = await audit({ atLeast: [{ position: '22', streamId: 'n' }] });
        expect(problems.map(({ detail }) => detail)).toEqual([
          'somebody was answered position 22; another event stands there, of the stream e',
        ]);
        await expect(take({ seen })).rejects.toMatchObject({
          data: {
            problems: [
              expect.objectContaining({
                detail: 'this process has seen an event at position 22; another event stands there',
              }),
            ],
          },
        });
      });
    });

    it('and a server notices: nothing is signed until an operator has acknowledged it', async () => {
      const noticed = `insert into log.losses (noticed_by, kept_position, seen_position, streams) values ('server 1', '22', '25', '[]')`;
      await afterwards(noticed, async () => {
        const { problems } = await refused();
        expect(problems.map(({ detail }) => detail)).toEqual([
          expect.stringContaining('the log went back from position 25 to 22, and nobody has acknowledged it'),
        ]);
        await sql(
          `update log.losses set acknowledged_at = now(), acknowledged_by = 'Ada', acknowledgement = 'known'`,
        );
        expect((await take()).digest).toBeDefined();
        expect((await audit()).isSound).toBe(true);
      });
    });

    it('before a digest: the digest shows it', async () => {
      const { problems, vouchedPosition } = await found(
        `delete from log.events where position > 15; truncate projection.stream_revisions, projection.checkpoints`,
      );
      expect(problems).toContainEqual(expect.objectContaining({ code: 'stream-removed', streamId: 'd' }));
      expect(vouchedPosition).toBe('12');
    });
  });

  describe('replaces or alters a table', () => {
    const lying = `case when current_query() !~ 'declare' then replace(data::text, 'note', 'lie')::json else data end as data`;
    it.each([
      [
        'a view that shows the audit what was recorded, and others something else',
        `alter table log.events rename to events_real;
         create view log.events as select position, stream_key, revision, id, type, schema_version, recorded_at, ${lying}, metadata, hash
           from log.events_real`,
        `drop view log.events; alter table log.events_real rename to events`,
        'log.events',
        'a view',
      ],
      [
        'a view that has lost its columns',
        `alter table log.events rename to events_real; create view log.events as select 1 as n`,
        `drop view log.events; alter table log.events_real rename to events`,
        'log.events',
        'a view',
      ],
      ...['streams', 'digests', 'digest_heads', 'data_keys', 'histories', 'losses', 'snapshots'].map(
        (table): [string, string, string, string, string] => [
          `a view in the place of ${table}`,
          `alter table log.${table} rename to real; create view log.${table} as table log.real`,
          `drop view log.${table}; alter table log.real rename to ${table}`,
          `log.${table}`,
          'a view',
        ],
      ),
      [
        'a materialized view',
        `alter table log.histories rename to real; create materialized view log.histories as table log.real`,
        `drop materialized view log.histories; alter table log.real rename to histories`,
        'log.histories',
        'a materialized view',
      ],
      [
        'nothing',
        `alter table log.histories rename to real`,
        `alter table log.real rename to histories`,
        'log.histories',
        'not there',
      ],
      [
        'row security',
        `alter table log.events enable row level security; create policy few on log.events for select using (position <> 5)`,
        `drop policy few on log.events; alter table log.events disable row level security`,
        'log.events',
        'row security',
      ],
      [
        'a rule',
        `create rule quiet as on insert to log.events where new.type = 'Noted' do instead nothing`,
        `drop rule quiet on log.events`,
        'log.events',
        'the rule quiet',
      ],
      [
        'a trigger',
        `create function log.other() returns trigger language plpgsql as 'begin new.data = ''{}''; return new; end';
         create trigger other before insert on log.events for each row execute function log.other()`,
        `drop trigger other on log.events; drop function log.other()`,
        'log.events',
        'the trigger other',
      ],
      [
        'a child, whose rows are read along',
        `create table log.more () inherits (log.data_keys)`,
        `drop table log.more`,
        'log.data_keys',
        'the child log.more',
      ],
      [
        'another owner',
        `create role waylog_spec_owner; alter table log.digests owner to waylog_spec_owner`,
        `alter table log.digests owner to current_user; drop role waylog_spec_owner`,
        'log.digests',
        'belongs to waylog_spec_owner',
      ],
      [
        'an index that may leave out what it likes',
        `create operator class log.own for type bigint using btree as
           operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, function 1 btint8cmp(bigint, bigint);
         create index own on log.events (position log.own)`,
        `drop index log.own; drop operator class log.own using btree; drop operator family if exists log.own using btree`,
        'log.events',
        'the index log.own',
      ],
      [
        'a column that is made anew',
        `alter table log.digests add column more text generated always as (key_id || '') stored`,
        `alter table log.digests drop column more`,
        'log.digests',
        'the column more',
      ],
      [
        'a cast of his own',
        `create function public.lie(d json) returns text language sql immutable as $$ select replace(json_out(d)::text, 'note', 'lie') $$;
         create cast (json as text) with function public.lie(json)`,
        `drop cast (json as text); drop function public.lie(json)`,
        'a cast from json to text',
        'not PostgreSQL',
      ],
    ])('with %s: the audit finds it, and signs nothing', async (_, tampering, back, table, how) => {
      const before = (await storedDigests(database.pool)).length;
      await sql(tampering);
      try {
        await expect(take()).rejects.toMatchObject({
          code: 'audit.broken',
          data: { problems: [expect.objectContaining({ code: 'log-replaced' })] },
        });
        const result = await audit();
        expect(result).toMatchObject({ isSound: false, problems: [{ code: 'log-replaced' }] });
        expect(result.problems[0]?.detail).toContain(table);
        expect(result.problems[0]?.detail).toContain(how);
        expect(result.vouchedPosition).toBeUndefined();
        await expect(
          recordBreak(database.pool, key, { vocabulary, by: 'an operator', why: 'it is so' }),
        ).rejects.toMatchObject({ code: 'audit.broken' });
      } finally {
        await sql(back);
      }
      expect(await storedDigests(database.pool)).toHaveLength(before);
      expect(await audit()).toMatchObject({ isSound: true });
    });

    it("and creates an aggregate: it is not mistaken for PostgreSQL's", async () => {
      // Each in a separate session, which has not planned the statement before.
      const page = async () => {
        const pool = new pg.Pool({ connectionString: database.url });
        try {
          const store = new PostgresEventStore({ pool, listener: database.listener });
          const events: RecordedEvent[] = [];
          for await (const some of store.readStream('a')) events.push(...some);
          return events;
        } finally {
          await pool.end();
        }
      };
      const before = await page();
      expect(before.length).toBeGreaterThan(0);
      await sql(`
        create function public.ja_s(t text, d json) returns text language sql immutable as $$ select coalesce(t || ', ', '') || '{"a":"lie"}' $$;
        create function public.ja_f(t text) returns json language sql immutable as $$ select ('[' || t || ']')::json $$;
        create aggregate public.json_agg(json) (sfunc = public.ja_s, stype = text, finalfunc = public.ja_f)`);
      try {
        expect(await page()).toEqual(before);
      } finally {
        await sql(
          `drop aggregate public.json_agg(json); drop function public.ja_f(text); drop function public.ja_s(text, json)`,
        );
      }
    });

    it("and creates operators: they are not mistaken for PostgreSQL's", async () => {
      // It multiplies the time of an event, for which PostgreSQL has no operator that fits as well.
      await sql(`
        create function public.wrong(numeric, integer) returns numeric language sql as 'select 0::numeric';
        create operator public.* (leftarg = numeric, rightarg = integer, function = public.wrong)`);
      try {
        expect(await audit()).toMatchObject({ isSound: true });
      } finally {
        await sql(`drop operator public.* (numeric, integer); drop function public.wrong(numeric, integer)`);
      }
    });
  });

  describe('changes the keys', () => {
    it.each([
      ['deletes one', `delete from log.data_keys where stream_id = 'thing-p'`, 'key-missing', 'thing-p'],
      [
        'swaps one',
        `update log.data_keys set key = sha256('') where stream_id = 'thing-p'`,
        'key-swapped',
        'thing-p',
      ],
    ])('%s: that does not count as an erasure', async (_, tampering, code, streamId) => {
      const { problems, vouchedPosition } = await found(tampering);
      expect(problems).toEqual([expect.objectContaining({ code, streamId })]);
      // The chains are tested elsewhere.
      expect(vouchedPosition).toBe('18');
    });

    it('and restores an erased key, or a state in the clear', async () => {
      const { problems } = await afterwards(
        `insert into log.data_keys (stream_id, key) values ('thing-gone', '\\x${randomBytes(32).toString('hex')}');
         insert into log.snapshots (stream_id, version, revision, state) values ('thing-gone', 1, 0, '{"text":"note 0"}')`,
        audit,
      );
      expect(problems.map(({ code, streamId }) => `${code} ${streamId}`)).toEqual([
        'key-left thing-gone',
        'snapshot-left thing-gone',
      ]);
    });
  });

  describe('and a known break', () => {
    const record = (more: { findings?: string; why?: string; folder?: string } = {}) =>
      recordBreak(database.pool, key, {
        vocabulary,
        by: 'an operator',
        why: 'a disk has failed',
        ...more,
      });
    const recorded = async (more: { folder?: string } = {}) =>
      record({ findings: (await record(more)).fingerprint, ...more });
    const raw = `update log.events set data = '{"n":99}' where ${at('b', '= 1')}`;

    it.each([
      ['a changed event', raw, 3],
      ['a stream that was rewritten', rewritten('c'), 3],
      ['an event that is gone', `delete from log.events where ${at('d', '= 1')}`, 3],
      ['a stream that is gone', `delete from log.events where ${at('c', '>= 0')}`, 3],
      ['a stream that has lost its name', `delete from log.streams where stream_id = 'd'`, 3],
      [
        'the end of the log in front of a digest',
        `delete from log.events where position > 15; truncate projection.stream_revisions, projection.checkpoints`,
        3,
      ],
      ['an event below the first position', planted, 3],
      ['a key that is gone', `delete from log.data_keys where stream_id = 'thing-p'`, 3],
      ['a key that was swapped', `update log.data_keys set key = sha256('') where stream_id = 'thing-p'`, 3],
      [
        'a digest that is gone',
        `delete from log.digests where number = 1; delete from log.digest_heads where digest = 1`,
        3,
      ],
      ['heads of a digest that were changed', `delete from log.digest_heads where stream_id = 'c'`, 3],
      [
        'a last digest that is no longer one',
        `update log.digests set document = replace(document, '"position":"18"', '"position":"999999999"') where number = 2`,
        3,
      ],
    ])('(%s): every later audit names it, and signing continues after it', async (_, tampering, number) => {
      await afterwards(tampering, async () => {
        expect(await audit()).toMatchObject({ isSound: false, breaks: [] });
        const { digest, problems } = await recorded();
        expect(problems.length).toBeGreaterThan(0);
        expect(digest?.number).toBe(number);
        const known = { digest: number, by: 'an operator', why: 'a disk has failed', problems };
        expect(await audit()).toMatchObject({ isSound: true, problems: [], breaks: [known] });
        await append('a', 6, 2).catch(() => append('f', 0, 2));
        await append('g', 0, 2);
        // Also when all of it is walked again, long after.
        const { digest: next } = await take({ now: new Date(Date.now() + 30 * 86_400_000) });
        expect(next?.number).toBe(number + 1);
        const after = await audit();
        expect(after).toMatchObject({ isSound: true, problems: [], breaks: [known] });
        expect(after.vouchedPosition).toBe(next && statementOf(next.document)?.position);
        await expect(record()).rejects.toMatchObject({ code: 'audit.no-break' });
      });
    });

    it.each([
      ['the same event once more', `update log.events set data = '{"n":100}' where ${at('b', '= 1')}`],
      ['an earlier one of its stream', `update log.events set data = '{"n":100}' where ${at('b', '= 0')}`],
      ['a later one of its stream', `update log.events set data = '{"n":100}' where ${at('b', '= 3')}`],
      ['one behind the record', `update log.events set data = '{"n":100}' where ${at('b', '= 5')}`],
      [
        'one behind the record, and the hashes with it',
        `update log.events set data = '{"n":100}' where ${at('b', '= 5')}; ${rechained('b')}`,
      ],
      ['the whole stream, chained as if it had never broken', rechained('b')],
      ['another stream', rewritten('c')],
      ['the end of its stream', `delete from log.events where ${at('b', '> 5')}`],
      [
        'the record itself',
        `update log.digests set document = replace(document, 'disk', 'mouse') where number = 3`,
      ],
      [
        'the record away',
        `delete from log.digests where number = 3; delete from log.digest_heads where digest = 3`,
      ],
      [
        'what the record has noted',
        `update log.digest_heads set hash = sha256('') where digest = 3 and stream_id = 'a'`,
      ],
    ])('cannot be used to hide a second change: %s', async (_, second) => {
      await afterwards(raw, async () => {
        await recorded();
        await append('b', 5, 3);
        await take();
        await append('b', 8, 1);
        await sql(folded);
        expect(await audit()).toMatchObject({ isSound: true });
        await sql(second);
        await refused();
      });
    });

    it('cannot be used to insert events into the gap, or to hide a gap after it', async () => {
      await afterwards(
        `delete from log.events where position > 15; truncate projection.stream_revisions, projection.checkpoints`,
        async () => {
          await recorded();
          await append('b', 3, 4);
          await append('h', 0, 3);
          await take();
          expect(await audit()).toMatchObject({ isSound: true });
          // Positions that were lost once, and now exist again.
          await sql(`delete from log.events where position between 16 and 18`);
          const { problems } = await refused();
          expect(problems).toContainEqual(expect.objectContaining({ code: 'event-removed', streamId: 'b' }));
        },
      );
      await afterwards(`delete from log.events where ${at('d', '>= 0')}`, async () => {
        await recorded();
        await sql(`insert into log.streams (stream_id) values ('z')`);
        await sql(
          `insert into log.events (position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata, hash)
           select 15 + n, (select stream_key from log.streams where stream_id = 'z'), n - 1, gen_random_uuid(), type, schema_version, recorded_at, data, metadata, ''
             from log.events, generate_series(1, 3) n where position = 1;
           ${rechained('z')}`,
        );
        const { problems } = await refused();
        expect(problems).toContainEqual(expect.objectContaining({ code: 'event-inserted', streamId: 'z' }));
      });
    });

    it('needs a valid signature', async () => {
      const forger = signingKey(newKeyPair().privateKey);
      await afterwards(raw, async () => {
        const options = { vocabulary, by: 'nobody', why: 'it is all right', keys };
        const { fingerprint } = await recordBreak(database.pool, forger, options);
        await recordBreak(database.pool, forger, { ...options, findings: fingerprint });
        const { isSound, problems, breaks } = await audit();
        expect({ isSound, breaks }).toEqual({ isSound: false, breaks: [] });
        expect(problems.map(({ code }) => code)).toEqual(['event-changed', 'digest-unsigned']);
        await expect(take()).rejects.toMatchObject({ code: 'audit.broken' });
        // Nor if signatures are not checked.
        expect(await audit({ keys: new Map() })).toMatchObject({ isSound: false, breaks: [] });
      });
    });

    it('is recorded only as the operator saw it', async () => {
      await afterwards(raw, async () => {
        const { fingerprint } = await record();
        await sql(`update log.events set data = '{"n":100}' where ${at('b', '= 1')}`);
        await expect(record({ findings: fingerprint })).rejects.toMatchObject({
          code: 'audit.other-findings',
        });
        expect(await storedDigests(database.pool)).toHaveLength(2);
      });
      await expect(record()).rejects.toMatchObject({ code: 'audit.no-break' });
    });
  });

  describe('the folder of digests', () => {
    let planted: string;
    beforeEach(async () => {
      planted = await mkdtemp(join(tmpdir(), 'waylog-audit-'));
    });
    afterEach(() => rm(planted, { recursive: true }));

    it('is written without following a planted link', async () => {
      const victim = join(planted, 'victim');
      await writeFile(victim, 'precious');
      await symlink(victim, join(planted, 'digest-000001.json.part'));
      expect(await writeDigestFiles(database.pool, planted, keys)).toBe(2);
      expect(await readFile(victim, 'utf8')).toBe('precious');
      expect((await readdir(planted)).sort()).toEqual([
        'digest-000001.json',
        'digest-000001.json.part',
        'digest-000002.json',
        'victim',
      ]);
    });

    it('is not read through a link either: a link is not a digest', async () => {
      const elsewhere = join(planted, 'elsewhere');
      await writeFile(elsewhere, await readFile(join(folder, 'digest-000002.json')));
      await symlink(elsewhere, join(planted, 'digest-000002.json'));
      await writeDigestFiles(database.pool, planted, keys);
      const { problems } = await found('select', { folder: planted });
      expect(problems[0]).toMatchObject({ code: 'digest-changed' });
    });

    it('accepts no unsigned digest', async () => {
      await afterwards(
        `update log.digests set document = replace(document, '"position":"18"', '"position":"17"') where number = 2`,
        async () => {
          expect(await writeDigestFiles(database.pool, planted, keys)).toBe(1);
        },
      );
    });
  });
});

describe('a log that is too long to be walked with every digest', () => {
  let database: TestDatabase;
  const stream = (name: string, count: number) =>
    database.pool.query(
      `with s as (insert into log.streams (stream_id) values ('${name}') returning stream_key),
            e as (select (select coalesce(max(position), 0) from log.events) + n as position, n - 1 as revision, gen_random_uuid() as id,
                         date_trunc('milliseconds', now()) as at, '{"n":1}'::json as data, '{"actor":"a"}'::json as metadata
                    from generate_series(1, ${count}) n)
       insert into log.events (position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata, hash)
       select position, stream_key, revision, id, 'Noted', 1, at, data, metadata,
              log.chain(log.genesis('${name}'), log.canonical(position, revision, id, 'Noted', 1,
                (extract(epoch from at) * 1000000)::bigint, metadata::text, data::text)) over (order by revision)
         from e, s`,
    );
  const take = async () => {
    const { digest } = await takeDigest(database.pool, key, { vocabulary });
    return digest && statementOf(digest.document);
  };

  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  it('is walked in parts, one with each digest, and an old change is found when its turn comes', async () => {
    for (const name of ['s1', 's2', 's3']) {
      await stream(name, 40_000);
      // How many are walked with every digest.
      expect((await take())?.walk?.digest).toBe(Number(name[1]));
    }
    await database.pool.query(
      `update log.events set data = '{"n":2}' where position = 100000;
       update log.events e set hash = c.hash
         from (select position, log.chain(log.genesis('s3'), log.canonical(position, revision, id, type, schema_version,
                        (extract(epoch from recorded_at) * 1000000)::bigint, metadata::text, data::text)) over (order by revision) as hash
                 from log.events where position > 80000) c where c.position = e.position`,
    );
    await stream('s4', 10);
    // Up to the second digest: its statement is that the walk has not reached the third.
    const fourth = await take();
    expect(fourth?.walk).toMatchObject({ digest: 2 });
    await stream('s5', 10);
    await expect(take()).rejects.toMatchObject({
      code: 'audit.broken',
      data: { problems: [expect.objectContaining({ code: 'stream-rewritten', streamId: 's3' })] },
    });
    // A complete audit need not wait for any turn.
    expect(await verifyAudit({ pool: database.pool, keys, vocabulary })).toMatchObject({
      isSound: false,
      vouchedPosition: '80000',
    });
  });
});
