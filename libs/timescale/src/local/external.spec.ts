import { compareVersions, type ServerFacts, unsuitable, withoutPassword } from './external.js';

const good: ServerFacts = {
  postgresql: '17.11',
  versionNumber: 170011,
  available: '2.19.3',
  installed: null,
  preloaded: true,
};

describe('a server at DATABASE_URL', () => {
  it('is accepted if it is new enough, has TimescaleDB and preloads it', () => {
    expect(unsuitable(good)).toBeUndefined();
    expect(unsuitable({ ...good, available: '2.15.0', versionNumber: 150000 })).toBeUndefined();
  });

  it.each<[string, Partial<ServerFacts>, RegExp]>([
    ['an old PostgreSQL', { versionNumber: 140010, postgresql: '14.10' }, /14\.10.*15 or newer/],
    ['no TimescaleDB', { available: null }, /not installed/],
    ['an old TimescaleDB', { available: '2.9.1' }, /2\.9\.1.*2\.15 or newer/],
    ['an old TimescaleDB in the database', { installed: '2.14.2' }, /2\.14\.2/],
    ['TimescaleDB not preloaded', { preloaded: false }, /not preloaded/],
  ])('is refused for %s', (_, facts, why) => {
    expect(unsuitable({ ...good, ...facts })?.why).toMatch(why);
  });

  it('is refused with the advice to update in place if the newer library is already there', () => {
    expect(unsuitable({ ...good, installed: '2.14.2' })?.todo).toContain(
      'alter extension timescaledb update',
    );
  });

  it('is named in messages without its password', () => {
    expect(withoutPassword('postgres://me:s3cret@host:5432/db?password=s3cret')).toBe(
      'postgres://me:***@host:5432/db',
    );
    expect(withoutPassword('host=here password=s3cret')).toBe('not a URL');
  });
});

it('versions compare by number, not by letter', () => {
  expect(compareVersions('2.9.1', '2.15')).toBeLessThan(0);
  expect(compareVersions('2.15.0', '2.15')).toBe(0);
  expect(compareVersions('2.20.0-dev', '2.19.3')).toBeGreaterThan(0);
});
