import pg from 'pg';
import { testDatabase, type TestDatabase } from '../../../../test/support/database.js';
import type { RecordedEvent } from '../event-store.js';
import { numbered } from '../testing/event-store.contract.js';
import { PostgresEventStore } from './postgres-event-store.js';

// What PostgreSQL adds to the contract: order across open transactions, and failures of the connection to the database.
describe('the PostgreSQL store under concurrent transactions', () => {
  let database: TestDatabase;
  let store: PostgresEventStore;
  beforeAll(async () => {
    database = await testDatabase();
    store = new PostgresEventStore({ pool: database.pool, listener: database.listener });
  });
  afterAll(async () => {
    await store.close();
    await database.drop();
  });

  const event = (n: number) => [numbered(n)];
  const numbers = (events: RecordedEvent[]) => events.map(({ data }) => data['n']);
  const appendSql = `select first_position from log.append($1, '{-2}', '{1}', '{0}', $2, 'Numbered', '{1}', $3, $4)`;
  const appendIn = async (client: pg.Client, streamId: string, n: number) => {
    const { id, data, metadata } = numbered(n);
    const values = [streamId, `{${id}}`, JSON.stringify(data), JSON.stringify(metadata)];
    return (await client.query<{ first_position: string }>(appendSql, values)).rows[0]?.first_position;
  };
  const connect = async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    return client;
  };
  /** Resolves once `count` sessions of this database wait for an advisory lock. */
  const sessionsWaiting = async (count: number) => {
    for (;;) {
      const { rows } = await database.pool.query<{ n: number }>(
        `select count(*)::integer as n from pg_locks
          where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())`,
      );
      if ((rows[0]?.n ?? 0) >= count) return;
    }
  };

  it('shows no reader a position above one that is taken but not committed', async () => {
    // A stream that the store knows: appends to it take the fast path, those of `fast-b` below the slow one.
    await store.append([{ streamId: 'fast-a', expectedRevision: 'no-stream', events: event(0) }]);
    const seen: unknown[] = [];
    const stop = new AbortController();
    const start = await store.head();
    const reader = (async () => {
      for await (const batch of store.subscribe({ after: start, batchSize: 100, signal: stop.signal })) {
        seen.push(...numbers(batch));
        if (seen.length >= 3) stop.abort();
      }
    })();

    const [slow, fast] = [await connect(), await connect()];
    await slow.query('begin');
    const taken = await appendIn(slow, 'slow', 1);
    // The position is taken, its transaction is open. Two others want to append meanwhile.
    const others = Promise.all([
      store.append([{ streamId: 'fast-a', expectedRevision: 0, events: event(2) }]),
      appendIn(fast, 'fast-b', 3),
    ]);
    await sessionsWaiting(2);
    // Nothing must be past the open transaction: neither the log's head nor any reader.
    expect(await store.readAll({ after: start, limit: 10 })).toEqual([]);
    expect(seen).toEqual([]);
    await slow.query('commit');
    await others;
    await reader;
    expect(seen[0]).toBe(1);
    expect([...seen].sort()).toEqual([1, 2, 3]);
    const events = await store.readAll({ after: start, limit: 10 });
    expect(events[0]?.position).toBe(taken);
    expect(events.map(({ position }) => BigInt(position))).toEqual(
      [0n, 1n, 2n].map((i) => BigInt(taken ?? 0) + i),
    );
    await slow.end();
    await fast.end();
  });

  it('gives a position that was rolled back to the next event: there are no gaps', async () => {
    const client = await connect();
    await client.query('begin');
    const taken = await appendIn(client, 'rolled-back', 1);
    await client.query('rollback');
    await client.end();
    const [outcome] = await store.append([{ streamId: 'after', expectedRevision: 'any', events: event(2) }]);
    expect(outcome).toMatchObject({ accepted: true, positions: [taken] });
  });

  it('refuses to append in a transaction that cannot see what was committed while it waited', async () => {
    const client = await connect();
    await client.query('begin isolation level repeatable read');
    await expect(appendIn(client, 'stale', 1)).rejects.toThrow('must run in a read committed transaction');
    await client.end();
  });

  it('records an append once when its acknowledgement was lost', async () => {
    const streamId = 'ambiguous';
    const request = { streamId, expectedRevision: 'no-stream' as const, events: [numbered(1), numbered(2)] };
    // The first attempt reaches the log, but its answer is lost.
    let attempts = 0;
    const flaky = new Proxy(database.pool, {
      get: (pool, property, receiver) =>
        property === 'query'
          ? async (...args: unknown[]) => {
              const result = await (Reflect.apply(
                pool.query.bind(pool),
                pool,
                args,
              ) as unknown as Promise<unknown>);
              const isAppend = (args[0] as { name?: string }).name === 'log.append';
              if (isAppend && ++attempts === 1) throw new Error('Connection terminated unexpectedly');
              return result;
            }
          : Reflect.get(pool, property, receiver),
    });
    const [outcome] = await new PostgresEventStore({ pool: flaky, listener: database.listener }).append([
      request,
    ]);
    expect(attempts).toBe(2);
    expect(outcome).toMatchObject({ accepted: true, firstRevision: 0, repeated: true });
    const events: RecordedEvent[] = [];
    for await (const page of store.readStream(streamId)) events.push(...page);
    expect(numbers(events)).toEqual([1, 2]);
  });

  it('survives the end of its connections in the middle of an append', async () => {
    const blocker = await connect();
    await blocker.query('begin');
    await appendIn(blocker, 'blocker', 0);
    const appended = store.append([{ streamId: 'cut', expectedRevision: 'no-stream', events: event(1) }]);
    await sessionsWaiting(1);
    await database.pool.query(
      `select pg_terminate_backend(pid) from pg_locks
        where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())`,
    );
    await blocker.query('rollback');
    expect(await appended).toMatchObject([{ accepted: true, firstRevision: 0 }]);
    await blocker.end();
  });

  it('fails only the request that PostgreSQL refuses, not those that share its transaction', async () => {
    const bad = { ...numbered(1), id: 'not-a-uuid' };
    const results = await Promise.allSettled([
      store.append([{ streamId: 'good-1', expectedRevision: 'any', events: event(1) }]),
      store.append([{ streamId: 'bad', expectedRevision: 'any', events: [bad] }]),
      store.append([{ streamId: 'good-2', expectedRevision: 'any', events: event(2) }]),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });
});
