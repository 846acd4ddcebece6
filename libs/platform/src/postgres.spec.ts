import pg from 'pg';
import { databaseCall, failureOf, isTransient } from './postgres.js';

const sqlError = (code: string) => Object.assign(new Error(`SQLSTATE ${code}`), { code });

describe('a failure that can pass within a moment', () => {
  it.each(['08006', '57P01', '40001', '53100', '53200', '53300', '58030', '25006'])(
    'is SQLSTATE %s',
    (code) => expect(isTransient(sqlError(code))).toBe(true),
  );

  it.each(['23505', '22003', '42P01', 'XX001'])('is not SQLSTATE %s', (code) =>
    expect(isTransient(sqlError(code))).toBe(false),
  );

  it("is tried three times, and then reported as such: a full disk is not the caller's fault", async () => {
    let attempts = 0;
    const full = () => {
      attempts++;
      return Promise.reject(sqlError('53100'));
    };
    await expect(databaseCall(full)).rejects.toMatchObject({
      code: 'database.unavailable',
      kind: 'unavailable',
      data: { retryAfterSeconds: 1 },
    });
    expect(attempts).toBe(3);
  });

  it.each([
    [
      'out of shared memory',
      'database.too-few-locks',
      /^The database has run out of locks .*max_locks_per_transaction/,
    ],
    ['out of memory', 'database.out-of-memory', /^The database has no memory left for this/],
  ])('is reported with its cause and what to do: %s', async (said, code, message) => {
    const error = Object.assign(new pg.DatabaseError(said, 0, 'error'), { code: '53200' });
    const told = { code, kind: 'unavailable', message: expect.stringMatching(message) as string };
    await expect(databaseCall(() => Promise.reject(error))).rejects.toMatchObject(told);
    expect(failureOf(error)).toMatchObject(told);
  });

  it('is reported in a sentence if it is not retried: a lost connection', () => {
    const error = Object.assign(
      new pg.DatabaseError('terminating connection due to administrator command', 0, 'error'),
      {
        code: '57P01',
      },
    );
    expect(failureOf(error)).toMatchObject({
      code: 'database.unavailable',
      message: expect.stringMatching(
        /connection to it was lost \(terminating .*\)\. Start this again\.$/,
      ) as string,
    });
  });
});
