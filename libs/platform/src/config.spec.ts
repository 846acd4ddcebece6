import { readConfig } from './config.js';

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
      demo: false,
      retentionIntervalSeconds: 3_600,
      archiveDirectory: undefined,
    });
  });

  it('knows a folder for backups only where one is named', () => {
    expect(readConfig({ DATABASE_URL, WAYLOG_BACKUP_DIR: '/backups' }).backupDir).toBe('/backups');
    expect(readConfig({ DATABASE_URL, WAYLOG_BACKUP_DIR: '' })).not.toHaveProperty('backupDir');
  });

  it('names every bad variable together', () => {
    expect(() =>
      readConfig({ PORT: '70000', DATABASE_POOL_SIZE: 'many', WAYLOG_ROLES: 'cook', LOG_FORMAT: 'xml' }),
    ).toThrow(/DATABASE_URL.*WAYLOG_ROLES.*DATABASE_POOL_SIZE.*PORT.*LOG_FORMAT/s);
  });
});
