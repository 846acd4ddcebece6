import { chooseSource, type Obstacle } from './choose.js';
import { DatabaseError } from './database-error.js';

const open: Obstacle = () => Promise.resolve(undefined);
const closed =
  (why: string): Obstacle =>
  () =>
    Promise.resolve(why);
const notAsked: Obstacle = () => Promise.reject(new Error('was asked'));
const fresh = { databaseUrl: undefined, madeBy: undefined } as const;

describe('the way to a database', () => {
  it('is DATABASE_URL if it is set, and nothing else is checked', async () => {
    const known = { databaseUrl: 'postgres://elsewhere/db', madeBy: 'private' } as const;
    expect(await chooseSource(known, { docker: notAsked, private: notAsked })).toBe('url');
  });

  it('is Docker if its engine answers', async () => {
    expect(await chooseSource(fresh, { docker: open, private: notAsked })).toBe('docker');
  });

  it('is a private server if Docker does not answer', async () => {
    expect(await chooseSource(fresh, { docker: closed('no engine'), private: open })).toBe('private');
  });

  it('stays where the data are, even if Docker is there by now', async () => {
    expect(await chooseSource({ ...fresh, madeBy: 'private' }, { docker: notAsked, private: notAsked })).toBe(
      'private',
    );
  });

  it('is not replaced by an empty database when Docker is down and has the data', async () => {
    const choice = chooseSource(
      { ...fresh, madeBy: 'docker' },
      { docker: closed('no engine answers'), private: open },
    );
    await expect(choice).rejects.toThrow(/lives in Docker.*\n.*no engine answers/);
  });

  it('does not exist if all three are closed, and the error says why for each', async () => {
    const choice = chooseSource(fresh, {
      docker: closed('docker is not installed'),
      private: closed('this is darwin'),
    });
    await expect(choice).rejects.toBeInstanceOf(DatabaseError);
    await expect(choice).rejects.toThrow(/DATABASE_URL is not set; docker is not installed; this is darwin/);
    await expect(choice).rejects.toMatchObject({ code: 'database.no-way' });
  });
});
