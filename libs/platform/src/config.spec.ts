import { isLoopback, readConfig, withoutCredentials } from './config.js';

const DATABASE_URL = 'postgres://u:p@127.0.0.1/waylog';

describe('readConfig', () => {
  it('needs only a database, and then listens on loopback', () => {
    expect(readConfig({ DATABASE_URL })).toEqual({
      databaseUrl: DATABASE_URL,
      auditIntervalMinutes: 1_440,
      auditEvents: 0,
      filesDirectory: undefined,
      filesMaxBytes: 256_000_000,
      filesCollectMs: 6 * 3_600_000,
      auditRoundDays: 7,
      poolOverflow: 0,
      poolRecycle: 3_600,
      poolSize: 50,
      poolTimeout: 5,
      host: '127.0.0.1',
      port: 3_000,
      roles: ['api', 'projector'],
      maxPendingCommands: 10_000,
      decisionCacheBytes: 96_000_000,
      settings: {},
      sqlTimeout: 5,
      logFormat: 'pretty',
      logLevel: 'info',
      backupRecipients: '',
      backupIntervalHours: 0,
      backupKeep: 7,
      verifyShare: 0.02,
      webhookNetworks: [],
      alertWebhook: '',
      alertIntervalMs: 10_000,
      databaseLimitBytes: 0,
      rateLimit: 20_000,
      corsOrigins: [],
      stopTimeout: 20,
      demo: false,
      recordsOrigin: true,
      retentionIntervalSeconds: 3_600,
      archiveDirectory: undefined,
      warnings: [],
    });
  });

  it('has a folder for backups only if one is named', () => {
    expect(readConfig({ DATABASE_URL, WAYLOG_BACKUP_DIR: '/backups' }).backupDir).toBe('/backups');
    expect(readConfig({ DATABASE_URL, WAYLOG_BACKUP_DIR: '' })).not.toHaveProperty('backupDir');
    expect(() => readConfig({ DATABASE_URL, WAYLOG_BACKUP_INTERVAL: '24' })).toThrow(
      /WAYLOG_BACKUP_INTERVAL means nothing without WAYLOG_BACKUP_DIR/,
    );
  });

  it('uses the log in the database, or in the EventStoreDB that it names', () => {
    expect(readConfig({ DATABASE_URL, EVENT_STORE: '' })).not.toHaveProperty('eventStore');
    for (const EVENT_STORE of [
      'esdb://127.0.0.1:2113?tls=false',
      'esdb+discover://a.example:2113,b.example:2113',
    ])
      expect(readConfig({ DATABASE_URL, EVENT_STORE }).eventStore).toBe(EVENT_STORE);
    for (const EVENT_STORE of ['http://127.0.0.1:2113', 'esdb://', 'postgres://here/waylog'])
      expect(() => readConfig({ DATABASE_URL, EVENT_STORE })).toThrow(/EVENT_STORE is no connection string/);
  });

  it('never shows credentials', () => {
    expect(() => readConfig({ DATABASE_URL, EVENT_STORE: 'http://me:s3cret@here' })).not.toThrow(/s3cret/);
    expect(withoutCredentials('esdb://me:s3cret@a:2113,b:2113?tls=true')).toBe('esdb://a:2113,b:2113');
    expect(withoutCredentials('esdb+discover://me:s3@cret@a?userCertFile=x')).toBe('esdb+discover://a');
    expect(withoutCredentials('postgres://me:s3cret@host:5432/db?password=s3cret')).toBe(
      'postgres://host:5432/db',
    );
    expect(withoutCredentials('s3cret')).toBe('not a URL');
  });

  const refusal = (env: Record<string, string>): string => {
    try {
      readConfig({ DATABASE_URL, ...env });
      return '';
    } catch (error) {
      return String(error);
    }
  };

  it('accepts an admin key that cannot be guessed, and does not show one that is too short', () => {
    const key = 'a'.repeat(32);
    expect(readConfig({ DATABASE_URL, WAYLOG_ADMIN_KEY: key }).adminKey).toBe(key);
    expect(readConfig({ DATABASE_URL, WAYLOG_ADMIN_KEY: '' })).not.toHaveProperty('adminKey');
    for (const wrong of ['secret', 'b'.repeat(31), `${key} x`, `${key}\n`, `${key}é`]) {
      expect(refusal({ WAYLOG_ADMIN_KEY: wrong })).toMatch(/WAYLOG_ADMIN_KEY must be 32 to/);
      expect(refusal({ WAYLOG_ADMIN_KEY: wrong })).not.toContain(wrong);
    }
  });

  it('trusts a provider only with an audience, and over TLS or from this machine', () => {
    const provider = { WAYLOG_JWT_ISSUER: 'https://login.example/realm', WAYLOG_JWT_AUDIENCE: 'waylog' };
    expect(readConfig({ DATABASE_URL, ...provider }).jwt).toEqual({
      issuer: 'https://login.example/realm',
      audience: 'waylog',
      roleClaim: 'waylog_role',
    });
    expect(refusal({ ...provider, WAYLOG_JWT_AUDIENCE: '' })).toMatch(/WAYLOG_JWT_AUDIENCE is missing/);
    expect(refusal({ WAYLOG_JWT_AUDIENCE: 'waylog' })).toMatch(/means nothing without WAYLOG_JWT_ISSUER/);
    for (const url of [
      'http://login.example',
      'http://127.0.0.1.example',
      'login.example',
      'ftp://127.0.0.1',
      'https://a:b@login.example',
    ])
      for (const name of ['WAYLOG_JWT_ISSUER', 'WAYLOG_JWT_JWKS_URL'])
        expect(refusal({ ...provider, [name]: url })).toMatch(`${name} must begin with https://`);
    for (const url of ['http://127.0.0.1:8080/realm', 'http://localhost:1', 'http://[::1]:1'])
      expect(refusal({ ...provider, WAYLOG_JWT_ISSUER: url, WAYLOG_JWT_JWKS_URL: url })).toBe('');
  });

  it('allows origins that are named in full, and no pattern', () => {
    const origins = (text: string) => readConfig({ DATABASE_URL, WAYLOG_CORS_ORIGINS: text }).corsOrigins;
    expect(origins('https://app.example,http://127.0.0.1:8080')).toEqual([
      'https://app.example',
      'http://127.0.0.1:8080',
    ]);
    for (const wrong of [
      '*',
      'null',
      'https://*.example/',
      'https://app.example/',
      'app.example',
      'https://a,*',
    ])
      expect(refusal({ WAYLOG_CORS_ORIGINS: wrong })).toMatch(/WAYLOG_CORS_ORIGINS names/);
    expect(refusal({ WAYLOG_RATE_LIMIT: '0' })).toMatch(/WAYLOG_RATE_LIMIT/);
  });

  it('allows webhooks the networks that are named, and no text that is none', () => {
    const networks = (text: string) =>
      readConfig({ DATABASE_URL, WAYLOG_WEBHOOK_NETWORKS: text }).webhookNetworks;
    expect(networks('10.1.0.0/16,fd00::/8,192.0.2.7')).toEqual(['10.1.0.0/16', 'fd00::/8', '192.0.2.7']);
    for (const bad of [
      '10.0.0.0/33',
      '10.0.0/8',
      'fd00::/129',
      'localhost',
      '10.0.0.0/',
      '10.0.0.0/8/8',
      '10.0.0.0/-1',
    ])
      expect(() => networks(bad)).toThrow(/WAYLOG_WEBHOOK_NETWORKS names/);
  });

  it('distinguishes addresses of this machine from those that others can reach', () => {
    for (const host of ['127.0.0.1', '127.8.9.1', 'localhost', '::1', '[::1]'])
      expect(isLoopback(host)).toBe(true);
    for (const host of ['0.0.0.0', '::', '', '10.0.0.1', '127.example', 'localhost.example', '::ffff:7f00:1'])
      expect(isLoopback(host)).toBe(false);
  });

  it('names all bad variables together', () => {
    expect(() =>
      readConfig({
        PORT: '70000',
        DATABASE_POOL_SIZE: 'many',
        WAYLOG_ROLES: 'cook',
        LOG_FORMAT: 'xml',
        LOG_LEVEL: 'loud',
      }),
    ).toThrow(/DATABASE_URL.*WAYLOG_ROLES.*DATABASE_POOL_SIZE.*PORT.*LOG_FORMAT.*LOG_LEVEL/s);
  });
});
