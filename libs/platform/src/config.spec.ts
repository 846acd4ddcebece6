import { readConfig, withoutCredentials } from './config.js';

const DATABASE_URL = 'postgres://u:p@127.0.0.1/waylog';

describe('readConfig', () => {
  it('needs no more than a database, and listens on loopback then', () => {
    expect(readConfig({ DATABASE_URL })).toEqual({
      databaseUrl: DATABASE_URL,
      poolSize: 50,
      host: '127.0.0.1',
      port: 3_000,
      roles: ['api', 'projector'],
      maxPendingCommands: 10_000,
      sqlTimeout: 5,
      logFormat: 'pretty',
      verifyShare: 0.02,
      alertWebhook: '',
      alertIntervalMs: 10_000,
      databaseLimitBytes: 0,
      stopTimeout: 20,
      demo: false,
      retentionIntervalSeconds: 3_600,
      archiveDirectory: undefined,
      warnings: [],
    });
  });

  it('knows a folder for backups only where one is named', () => {
    expect(readConfig({ DATABASE_URL, WAYLOG_BACKUP_DIR: '/backups' }).backupDir).toBe('/backups');
    expect(readConfig({ DATABASE_URL, WAYLOG_BACKUP_DIR: '' })).not.toHaveProperty('backupDir');
  });

  it('takes the log from the database, or from an EventStoreDB that it names', () => {
    expect(readConfig({ DATABASE_URL, EVENT_STORE: '' })).not.toHaveProperty('eventStore');
    for (const EVENT_STORE of [
      'esdb://127.0.0.1:2113?tls=false',
      'esdb+discover://a.example:2113,b.example:2113',
    ])
      expect(readConfig({ DATABASE_URL, EVENT_STORE }).eventStore).toBe(EVENT_STORE);
    for (const EVENT_STORE of ['http://127.0.0.1:2113', 'esdb://', 'postgres://here/waylog'])
      expect(() => readConfig({ DATABASE_URL, EVENT_STORE })).toThrow(/EVENT_STORE is no connection string/);
  });

  it('never shows what logs in', () => {
    expect(() => readConfig({ DATABASE_URL, EVENT_STORE: 'http://me:s3cret@here' })).not.toThrow(/s3cret/);
    expect(withoutCredentials('esdb://me:s3cret@a:2113,b:2113?tls=true')).toBe('esdb://a:2113,b:2113');
    expect(withoutCredentials('esdb+discover://me:s3@cret@a?userCertFile=x')).toBe('esdb+discover://a');
    expect(withoutCredentials('postgres://me:s3cret@host:5432/db?password=s3cret')).toBe(
      'postgres://host:5432/db',
    );
    expect(withoutCredentials('s3cret')).toBe('not a URL');
  });

  it('names every bad variable together', () => {
    expect(() =>
      readConfig({ PORT: '70000', DATABASE_POOL_SIZE: 'many', WAYLOG_ROLES: 'cook', LOG_FORMAT: 'xml' }),
    ).toThrow(/DATABASE_URL.*WAYLOG_ROLES.*DATABASE_POOL_SIZE.*PORT.*LOG_FORMAT/s);
  });
});
