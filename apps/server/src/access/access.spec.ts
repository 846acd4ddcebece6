import { databaseUnavailable, messageOf, type WaylogError } from '#lib/platform';
import { Access, WRONG_PER_SECOND, type AccessOptions } from './access.js';
import type { Checked } from './principal.js';
import { cannotBeChecked, refused } from './refusals.js';

const KEY = 'wlk_0123456789ab_good';
const ADMIN_KEY = 'an admin key that is long enough'.replaceAll(' ', '-');

describe('Access', () => {
  /** What the database says of keys, and how often it was asked. */
  let answers: (text: string) => Promise<Checked>;
  let asked: string[];
  let warnings: string[];
  let used: string[];
  beforeEach(() => {
    jest.useFakeTimers();
    asked = [];
    warnings = [];
    used = [];
    answers = (text) => (text === KEY ? Promise.resolve(good) : Promise.reject(refused('No.')));
  });
  afterEach(() => jest.useRealTimers());

  const good: Checked = {
    principal: { actor: 'key:a#0123456789ab', role: 'operator' },
    validMs: 5_000,
    keyId: '0123456789ab',
  };
  const make = (more: Partial<AccessOptions> = {}) =>
    new Access({
      checkKey: (text) => {
        asked.push(text);
        return answers(text);
      },
      onKeyUse: (id) => used.push(id),
      warn: (message) => warnings.push(message),
      ...more,
    });
  const settle = () => jest.advanceTimersByTimeAsync(0);

  it('tells the log why a credential cannot be checked, and whoever sent it nothing of where the database is', async () => {
    answers = () => Promise.reject(databaseUnavailable(new Error('connect ECONNREFUSED 127.0.0.1:5432')));
    const error = await Promise.resolve(make().authenticate(KEY, 'a')).then(() => '', messageOf);
    expect(error).toBe(
      'Who calls cannot be checked now: the log of the server says why. Try again in a moment.',
    );
    expect(warnings.join()).toContain('ECONNREFUSED 127.0.0.1:5432');
  });

  it('asks once for many requests at a time, and then for none of them', async () => {
    const access = make();
    const first = await Promise.all(
      Array.from({ length: 100 }, async () => access.authenticate(KEY, '203.0.113.1')),
    );
    expect(new Set(first)).toEqual(new Set([good.principal]));
    // At once, without a promise: the request does not even leave its turn.
    for (let n = 0; n < 100; n++) expect(access.authenticate(KEY, '203.0.113.1')).toBe(good.principal);
    expect(asked).toHaveLength(1);
  });

  it('looks guesses up a few at a time, and none once there were too many wrong ones', async () => {
    let open = 0;
    let most = 0;
    answers = async () => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 5));
      open--;
      throw refused('No.');
    };
    const access = make();
    const codes = Promise.all(
      Array.from({ length: 5_000 }, (_, n) =>
        Promise.resolve()
          .then(() => access.authenticate(`wlk_0123456789ab_${n}`, '203.0.113.1'))
          .then(
            () => 'let in',
            (error: unknown) => (error as WaylogError).code,
          ),
      ),
    );
    await jest.advanceTimersByTimeAsync(1_000);
    const all = await codes;
    const count = (wanted: string) => all.filter((code) => code === wanted).length;
    expect(most).toBeLessThanOrEqual(2);
    expect(asked.length).toBeLessThanOrEqual(2 * WRONG_PER_SECOND);
    expect(count('access.refused')).toBe(asked.length);
    expect(count('access.too-many-wrong')).toBe(5_000 - asked.length);
  });

  it('lets in all who come at once with good ones, as after a restart', async () => {
    answers = async (text) => {
      await new Promise((resolve) => setTimeout(resolve, 2));
      return { ...good, principal: { ...good.principal, actor: text } };
    };
    const access = make();
    const all = Promise.all(
      Array.from({ length: 150 }, async (_, n) =>
        access.authenticate(`wlk_0123456789ab_${n}`, '203.0.113.1'),
      ),
    );
    await jest.advanceTimersByTimeAsync(1_000);
    expect(new Set((await all).map(({ actor }) => actor)).size).toBe(150);
  });

  it('looks at a key that is in use again before its time is over, and nobody waits for it', async () => {
    const access = make();
    await access.authenticate(KEY, 'a');
    await jest.advanceTimersByTimeAsync(2_600);
    expect(access.authenticate(KEY, 'a')).toBe(good.principal);
    await settle();
    expect(asked).toHaveLength(2);
    await jest.advanceTimersByTimeAsync(2_600);
    expect(access.authenticate(KEY, 'a')).toBe(good.principal);
  });

  it('refuses a key that was revoked elsewhere after five seconds at the latest', async () => {
    const access = make();
    await access.authenticate(KEY, 'a');
    answers = () => Promise.reject(refused('It was revoked.'));
    await jest.advanceTimersByTimeAsync(5_000);
    await expect(access.authenticate(KEY, 'a')).rejects.toMatchObject({ code: 'access.refused' });
  });

  it('refuses a key that was revoked here at once, also when it is just being looked at', async () => {
    const access = make();
    await access.authenticate(KEY, 'a');
    let answer: (checked: Checked) => void = () => undefined;
    answers = () => new Promise((resolve) => (answer = resolve));
    await jest.advanceTimersByTimeAsync(2_600);
    expect(access.authenticate(KEY, 'a')).toBe(good.principal);
    access.forgetKey('0123456789ab');
    // What the database said before the key was revoked arrives now.
    answer(good);
    await settle();
    answers = () => Promise.reject(refused('It was revoked.'));
    await expect(access.authenticate(KEY, 'a')).rejects.toMatchObject({ code: 'access.refused' });
  });

  it('refuses what has expired to the millisecond, however lately it was good', async () => {
    const access = make();
    answers = () => Promise.resolve({ ...good, expiresAt: Date.now() + 1_000 });
    await access.authenticate(KEY, 'a');
    const [first] = await Promise.all([access.authenticate(KEY, 'a'), jest.advanceTimersByTimeAsync(999)]);
    expect(first).toBe(good.principal);
    expect(access.authenticate(KEY, 'a')).toBe(good.principal);
    const expired = { ...good, expiresAt: Date.now() + 1 };
    answers = () => Promise.resolve(expired);
    await jest.advanceTimersByTimeAsync(1);
    await expect(access.authenticate(KEY, 'a')).rejects.toMatchObject({ code: 'access.refused' });
  });

  it('lets who was known go on for five minutes while nothing can be checked, without making him wait', async () => {
    const access = make();
    await access.authenticate(KEY, 'a');
    answers = () => Promise.reject(cannotBeChecked('a test'));
    for (let second = 0; second < 300; second += 10) {
      await jest.advanceTimersByTimeAsync(10_000);
      expect(await access.authenticate(KEY, 'a')).toBe(good.principal);
      expect(access.authenticate(KEY, 'a')).toBe(good.principal);
      await settle();
    }
    await jest.advanceTimersByTimeAsync(10_000);
    await expect(access.authenticate(KEY, 'a')).rejects.toMatchObject({ code: 'access.unavailable' });
  });

  it('says 503 and not 401 of what it cannot check, and of a database that does not answer', async () => {
    const access = make();
    answers = () => Promise.reject(new Error('relation does not exist'));
    await expect(access.authenticate(KEY, 'a')).rejects.toMatchObject({
      code: 'access.unavailable',
      kind: 'unavailable',
    });
    expect(warnings).toHaveLength(1);
    answers = () => new Promise(() => undefined);
    const waiting = expect(access.authenticate(KEY, 'a')).rejects.toMatchObject({
      code: 'access.unavailable',
    });
    await jest.advanceTimersByTimeAsync(2_000);
    await waiting;
    expect(JSON.stringify(warnings)).not.toContain('good');
  });

  it('refuses the next time what it hears too late for a request', async () => {
    const access = make();
    await access.authenticate(KEY, 'a');
    let refuse: () => void = () => undefined;
    answers = () => new Promise((_, reject) => (refuse = () => reject(refused('It was revoked.'))));
    await jest.advanceTimersByTimeAsync(5_000);
    const waiting = access.authenticate(KEY, 'a');
    await jest.advanceTimersByTimeAsync(2_000);
    expect(await waiting).toBe(good.principal);
    refuse();
    await settle();
    answers = () => Promise.reject(refused('It was revoked.'));
    await expect(access.authenticate(KEY, 'a')).rejects.toMatchObject({ code: 'access.refused' });
  });

  it('slows guessing down for an address, right or wrong, but not for who was known', async () => {
    const access = make();
    await access.authenticate(KEY, '203.0.113.1');
    const guess = (n: number) => access.authenticate(`wlk_0123456789ab_guess${n}`, '203.0.113.1');
    const code = (error: unknown) => (error as { code: string }).code;
    const codes: string[] = [];
    for (let n = 0; n < 100; n++) codes.push(await Promise.resolve(guess(n)).then(String, code));
    expect(codes.filter((c) => c === 'access.refused')).toHaveLength(WRONG_PER_SECOND);
    expect(codes.filter((c) => c === 'access.too-many-wrong')).toHaveLength(100 - WRONG_PER_SECOND);
    expect(asked).toHaveLength(1 + WRONG_PER_SECOND);
    expect(warnings).toEqual(['More than 10 wrong keys a second come from 203.0.113.1']);
    // Also the right one, as long as it is not known: else one could guess on.
    const other = 'wlk_ffffffffffff_good';
    answers = (text) => (text.endsWith('_good') ? Promise.resolve(good) : Promise.reject(refused('No.')));
    await expect(access.authenticate(other, '203.0.113.1')).rejects.toMatchObject({
      code: 'access.too-many-wrong',
      data: { retryAfterSeconds: 1 },
    });
    expect(access.authenticate(KEY, '203.0.113.1')).toBe(good.principal);
    // Nor when it is looked at again.
    await jest.advanceTimersByTimeAsync(5_000);
    await Promise.allSettled(Array.from({ length: 50 }, async (_, n) => guess(n)));
    expect(await access.authenticate(KEY, '203.0.113.1')).toBe(good.principal);
    expect(await access.authenticate(other, '203.0.113.2')).toBe(good.principal);
    await jest.advanceTimersByTimeAsync(10_000);
    const third = 'wlk_eeeeeeeeeeee_good';
    expect(await access.authenticate(third, '203.0.113.1')).toBe(good.principal);
  });

  it('looks at no more of many guesses at once than of as many one after another', async () => {
    const access = make();
    await Promise.allSettled(
      Array.from({ length: 200 }, async (_, n) => access.authenticate(`wlk_0123456789ab_${n}`, 'a')),
    );
    expect(asked.length).toBeLessThanOrEqual(WRONG_PER_SECOND + 2);
    await expect(async () => access.authenticate(KEY, 'a')).rejects.toMatchObject({
      code: 'access.too-many-wrong',
    });
    await jest.advanceTimersByTimeAsync(1_000);
    expect(await access.authenticate(KEY, 'a')).toBe(good.principal);
  });

  it('takes the admin key without asking anybody, and nothing that is nearly it', async () => {
    const access = make({ adminKey: ADMIN_KEY });
    expect(await access.authenticate(ADMIN_KEY, 'a')).toEqual({ actor: 'admin-key', role: 'admin' });
    for (const wrong of [ADMIN_KEY.slice(1), `${ADMIN_KEY}x`, ADMIN_KEY.toUpperCase(), 'x'])
      await expect(access.authenticate(wrong, 'a')).rejects.toMatchObject({ code: 'access.refused' });
    expect(asked).toEqual([]);
    expect(used).toEqual([]);
  });

  it('lets in whoever does not need the provider while it hangs and forged tokens wait for it', async () => {
    const access = make({
      adminKey: ADMIN_KEY,
      checkToken: (text) => (text === 'at.hand.' ? Promise.resolve(good) : new Promise(() => undefined)),
      waitsForProvider: (text) => text !== 'at.hand.',
    });
    for (const address of ['203.0.113.1', '203.0.113.2', '203.0.113.3'])
      for (let n = 0; n < 3; n++)
        Promise.resolve(access.authenticate(`forged.${address.replaceAll('.', '')}.${n}`, address)).catch(
          () => undefined,
        );
    const letIn: string[] = [];
    const waiting = [KEY, ADMIN_KEY, 'at.hand.'].map(async (credential) => {
      letIn.push((await access.authenticate(credential, '203.0.113.1')).actor);
    });
    await settle();
    expect(letIn.sort()).toEqual(['admin-key', 'key:a#0123456789ab', 'key:a#0123456789ab']);
    await Promise.all(waiting);
  });

  it('lets in tokens while the database hangs and keys wait for it', async () => {
    const access = make({ checkToken: () => Promise.resolve(good), waitsForProvider: () => true });
    answers = () => new Promise(() => undefined);
    for (let n = 0; n < 9; n++)
      Promise.resolve(access.authenticate(`wlk_0123456789ab_${n}`, 'a')).catch(() => undefined);
    const token = access.authenticate('a.b.c', 'a');
    await settle();
    await expect(Promise.race([token, Promise.resolve('waits')])).resolves.toBe(good.principal);
  });

  it('says of a JWT that none is taken where no provider is configured', async () => {
    await expect(make().authenticate('a.b.c', 'a')).rejects.toThrow(/WAYLOG_JWT_ISSUER is not set/);
  });
});
