import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readConfig } from './config.js';
import { readSecrets, FROM_FILES, withoutSecrets } from './secrets.js';
import { repeatedParameter, tlsWeakness } from './tls.js';

describe('secrets from files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'waylog-secrets-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = (name: string, content: string, mode = 0o600) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  };
  const url = 'postgres://u:p@127.0.0.1/waylog';

  it.each(FROM_FILES)('are read for %s, without the line end', (name) => {
    const path = file(name, `  ${url}\n`);
    expect(readSecrets({ [`${name}_FILE`]: path, PORT: '1' })).toEqual({
      env: { [name]: url, PORT: '1' },
      errors: [],
      warnings: [],
    });
  });

  it('give the same configuration as the environment', () => {
    const DATABASE_URL_FILE = file('database', `${url}\n`);
    const WAYLOG_PROJECTOR_URL_FILE = file('projector', url.replace('u:', 'v:'));
    expect(readConfig({ DATABASE_URL_FILE, WAYLOG_PROJECTOR_URL_FILE })).toMatchObject({
      databaseUrl: url,
      projectorUrl: url.replace('u:', 'v:'),
      warnings: [],
    });
  });

  it('are refused when they are given twice, cannot be read, or are empty', () => {
    const path = file('twice', url);
    const refused = (env: Record<string, string>) => () => readConfig(env);
    expect(refused({ DATABASE_URL: url, DATABASE_URL_FILE: path })).toThrow(
      /DATABASE_URL_FILE is set, and so is DATABASE_URL/,
    );
    expect(refused({ DATABASE_URL_FILE: join(folder, 'nothing') })).toThrow(
      /one bad field: DATABASE_URL_FILE cannot be read: .*ENOENT/,
    );
    expect(refused({ DATABASE_URL_FILE: file('empty', ' \n') })).toThrow(
      /DATABASE_URL_FILE names .*, which is empty/,
    );
    expect(refused({ DATABASE_URL_FILE: path, EVENT_STORE: 'a', EVENT_STORE_FILE: path })).toThrow(
      /EVENT_STORE_FILE is set/,
    );
  });

  it('cause a warning if all users can read them', () => {
    const path = file('open', url, 0o644);
    expect(readConfig({ DATABASE_URL_FILE: path }).warnings).toEqual([
      expect.stringContaining(`${path} (DATABASE_URL_FILE) can be read by everybody`),
    ]);
  });

  it('are not passed to programs that Waylog starts', () => {
    expect(
      withoutSecrets({ PATH: '/bin', DATABASE_URL: url, EVENT_STORE_FILE: 'x', WAYLOG_READER_URL: url }),
    ).toEqual({
      PATH: '/bin',
    });
  });
});

describe('a URL of PostgreSQL', () => {
  it.each([
    'postgres://u:s3cret@host:70000/db',
    'postgres://u:s3cret/with-a-slash@host/db',
    'postgres://u:s3cret%@host/db',
    'postgres://u:s3cret@ho st/db',
    'http://u:s3cret@host/db',
    's3cret',
  ])('that cannot be parsed is refused, and never shown: %s', (DATABASE_URL) => {
    expect(() => readConfig({ DATABASE_URL })).toThrow(/DATABASE_URL is no PostgreSQL URL/);
    expect(() => readConfig({ DATABASE_URL })).not.toThrow(/s3cret/);
    for (const name of ['WAYLOG_READER_URL', 'WAYLOG_PROJECTOR_URL'])
      expect(() => readConfig({ DATABASE_URL: 'postgres://h/d', [name]: DATABASE_URL })).toThrow(
        new RegExp(`${name} is no PostgreSQL URL`),
      );
  });
});

describe('the connection to the database', () => {
  it.each([
    'postgres://u:p@127.0.0.1:5432/db',
    'postgres://u:p@127.3.2.1/db',
    'postgres://u:p@localhost/db',
    'postgres://u:p@[::1]/db',
    'postgres:///db?host=/var/run/postgresql',
    'postgres://u@%2Fvar%2Frun%2Fpostgresql/db',
    'postgres://u:p@db.example/db?sslmode=verify-full',
    'postgres://u:p@db.example/db?sslrootcert=/ca.crt&sslmode=verify-full',
  ])('is safe: %s', (url) => expect(tlsWeakness(url)).toBeUndefined());

  it.each([
    ['postgres://u:s3cret@db.example/db', /db\.example is not encrypted/],
    ['postgres://u:s3cret@10.0.0.1:5433/db?sslmode=disable', /10\.0\.0\.1:5433 is not encrypted/],
    ['postgres://u:s3cret@localhost.example/db', /not encrypted/],
    ['postgres:///db?host=db.example', /db\.example is not encrypted/],
    ['postgres://u:s3cret@127.0.0.1/db?host=db.example', /db\.example is not encrypted/],
    ['postgres://u:s3cret@db.example/db?sslmode=require', /sslmode=require/],
    ['postgres://u:s3cret@db.example/db?sslmode=verify-ca', /sslmode=verify-ca/],
    ['postgres://u:s3cret@db.example/db?sslmode=no-verify', /sslmode=no-verify/],
  ])('causes a warning, without credentials: %s', (url, why) => {
    expect(tlsWeakness(url)).toMatch(why);
    expect(tlsWeakness(url)).not.toMatch(/s3cret/);
  });

  it('is refused if it repeats a parameter of TLS', () => {
    const url = 'postgres://u:s3cret@db.example/db?sslmode=verify-full';
    expect(repeatedParameter(url)).toBeUndefined();
    expect(repeatedParameter(`${url}&sslmode=disable`)).toMatch(/says sslmode more than once/);
    expect(repeatedParameter(`${url}&host=127.0.0.1&host=db.example`)).toMatch(/says host more than once/);
    expect(() => readConfig({ DATABASE_URL: `${url}&sslmode=disable` })).toThrow(
      /DATABASE_URL says sslmode more than once/,
    );
  });
});
