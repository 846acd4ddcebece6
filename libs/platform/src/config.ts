import { isIP } from 'node:net';
import { invalidInput, type FieldError } from './errors.js';
import { readSecrets } from './secrets.js';
import { repeatedParameter } from './tls.js';

export type Role = 'api' | 'projector';

/** The provider whose tokens are accepted, and the claim that holds the role. */
export interface JwtConfig {
  readonly issuer: string;
  readonly audience: string;
  /** Where the provider's keys are; by default its discovery document says so. */
  readonly jwksUrl?: string;
  /** A claim, or a path to one with dots between the names. */
  readonly roleClaim: string;
}

/** The least severe level that is logged. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

export interface Config {
  /** Of the application role, or of the owner: then the process steps down (docs/how-to/database-roles.md). */
  readonly databaseUrl: string;
  /** Of the role that keeps the tables, if `databaseUrl` is the application role's. */
  readonly projectorUrl?: string;
  /** Where the log is, if not in that database: a connection string of EventStoreDB. */
  readonly eventStore?: string;
  /** A role for ad-hoc SQL instead of the one that Waylog creates. */
  readonly readerUrl?: string;
  /** The longest that ad-hoc SQL may run, in seconds. */
  readonly sqlTimeout: number;
  /** Connections to the database in pools, of both roles together. */
  readonly poolSize: number;
  /** Connections for queries beyond those, while all are in use. */
  readonly poolOverflow: number;
  /** How long a caller waits for a connection, in seconds. */
  readonly poolTimeout: number;
  /** The age at which a connection is replaced, in seconds. */
  readonly poolRecycle: number;
  readonly host: string;
  readonly port: number;
  /** What this process does: answer HTTP, fold events into tables, or both. */
  readonly roles: readonly Role[];
  /** How many commands can wait before more are refused with 503. */
  readonly maxPendingCommands: number;
  readonly decisionCacheBytes: number;
  /** The settings of contexts, by their names. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly logFormat: 'pretty' | 'json';
  readonly logLevel: LogLevel;
  /** The folder for backups requested over HTTP; without it they are refused. */
  readonly backupDir?: string;
  /** The recipients of encrypted backups: public age keys, separated by commas. If empty, backups are not encrypted. */
  readonly backupRecipients: string;
  /** Hours between two scheduled backups; 0 for never. */
  readonly backupIntervalHours: number;
  /** How many complete scheduled backups are kept. */
  readonly backupKeep: number;
  /** The largest share of the time, from 0 to 1, that the scheduled verification can work; 0 for never. */
  readonly verifyShare: number;
  /** Where alerts are sent when they start and stop firing; empty for nowhere. */
  readonly alertWebhook: string;
  readonly alertIntervalMs: number;
  /** Networks beside the public internet that webhooks may reach. */
  readonly webhookNetworks: readonly string[];
  /** The size that the database can grow to, for the alert on disk space; 0 to go by the file system. */
  readonly databaseLimitBytes: number;
  /** A key with all rights, besides those in the database. */
  readonly adminKey?: string;
  /** The OpenID provider whose tokens are accepted too. */
  readonly jwt?: JwtConfig;
  /** The requests per second that one caller can send. A burst can have as many at once. */
  readonly rateLimit: number;
  /** Whether events and keys record the address, program and session that they came from. */
  readonly recordsOrigin: boolean;
  /** Origins whose pages can call from a browser. */
  readonly corsOrigins: readonly string[];
  /** The longest that a stop can take, in seconds; then the server ends at once. */
  readonly stopTimeout: number;
  /** Runs the demonstrations of the contexts while the server runs. */
  readonly demo: boolean;
  /** How often chunks that are too old are dropped, if TimescaleDB has no policies for it. */
  readonly retentionIntervalSeconds: number;
  /** The Ed25519 private key in PEM that signs digests of the log; without it none are taken. */
  readonly auditKey?: string;
  /** The public keys in PEM, one after the other, of earlier signing keys. */
  readonly auditPublicKeys?: string;
  /** How often a digest is taken, in minutes since midnight UTC. */
  readonly auditIntervalMinutes: number;
  /** The number of new events after which a digest is taken early; 0 for never. */
  readonly auditEvents: number;
  /** In how many days every event of the log is walked again. */
  readonly auditRoundDays: number;
  /** The folder for digests as files. */
  readonly auditFolder?: string;
  /** The folder for archives; undefined if the server must not write any. */
  readonly archiveDirectory: string | undefined;
  /** The folder for files; undefined if none are kept. */
  readonly filesDirectory: string | undefined;
  /** The largest file that is taken. */
  readonly filesMaxBytes: number;
  /** How often files that no event needs are removed; 0 for never. */
  readonly filesCollectMs: number;
  /** Settings that are valid, but less safe than they could be. */
  readonly warnings: readonly string[];
}

/** Reads a variable that holds a whole number from `min` to `max`; `fallback` without one. */
export type ReadNumber = (name: string, fallback: number, min: number, max: number) => number;

/** The settings that a context takes from the environment. */
export interface ContextSettings {
  /** Every variable with its meaning and default. */
  readonly variables: Readonly<Record<string, string>>;
  readonly read: (number: ReadNumber) => object;
}

interface WithSettings {
  readonly name: string;
  readonly settings?: ContextSettings;
}

/**
 * Every variable with its meaning and default, for `--help` and the documentation. Those of `FROM_FILES` also as
 * NAME_FILE.
 */
export const variables = {
  DATABASE_URL: 'where the TimescaleDB is, such as postgres://user:password@127.0.0.1:5432/waylog (required)',
  WAYLOG_PROJECTOR_URL:
    'the same database with the role that keeps the tables, where DATABASE_URL has the application role (the roles that Waylog makes, where DATABASE_URL has the owner)',
  EVENT_STORE:
    'where the log is, such as esdb://user:password@127.0.0.1:2113 or esdb+discover://nodes.example (in the database)',
  DATABASE_POOL_SIZE:
    'connections to the database in pools, 3 to 1000: a fifth, 10 at most, for the log, as many for keeping the tables, the others for queries (50)',
  DATABASE_POOL_OVERFLOW: 'connections for queries beyond those while all are in use, 0 to 1000 (0)',
  DATABASE_POOL_TIMEOUT: 'seconds that a caller waits for a connection, 1 to 60; then it is answered 503 (5)',
  DATABASE_POOL_RECYCLE: 'seconds after which a connection is replaced by a new one, 60 to 86400 (3600)',
  HOST: 'the address to listen on (127.0.0.1)',
  PORT: 'the port to listen on, 0 for any free one (3000)',
  WAYLOG_ROLES: 'what this process does, of api and projector (api,projector)',
  WAYLOG_MAX_PENDING: 'commands that may wait before more are answered 503 (10000)',
  WAYLOG_DECISION_CACHE_MB:
    'memory for the states that commands are decided on, in megabytes: for a flight about 0.2 KB a frame with its heading (96)',
  WAYLOG_BACKUP_DIR: 'the folder for backups that are asked for by HTTP, which are refused without it (none)',
  WAYLOG_BACKUP_RECIPIENTS:
    'public keys of age (age1...) that backups are encrypted for, with commas between; none: they are not encrypted (none)',
  WAYLOG_BACKUP_INTERVAL:
    'hours between two backups into WAYLOG_BACKUP_DIR that a server with the role projector takes by itself, 1 to 8760; 0 for never (0)',
  WAYLOG_BACKUP_KEEP: 'how many complete ones of those stay, 1 to 10000 (7)',
  WAYLOG_VERIFY_SHARE:
    'percent of the time that the scheduled verification may work, 0 to 100; 0 for never (2)',
  WAYLOG_ALERT_WEBHOOK:
    'http(s) address that is sent alerts as JSON when they begin and cease to fire (none)',
  WAYLOG_WEBHOOK_NETWORKS:
    'networks that webhooks may reach beside the public internet, also without TLS, such as 10.1.0.0/16,fd00::/8 (none)',
  WAYLOG_ALERT_INTERVAL: 'seconds between two looks at the alert rules, 1 to 3600 (10)',
  WAYLOG_DATABASE_LIMIT_GB:
    'what the database may grow to, for the alert on disk space; 0 to go by the file system under it, where that can be seen (0)',
  WAYLOG_READER_URL: 'a database URL with a role of your own for ad-hoc SQL (the role that Waylog makes)',
  WAYLOG_SQL_TIMEOUT: 'the longest that ad-hoc SQL may run, 1 to 60 seconds (5)',
  WAYLOG_ADMIN_KEY:
    'a key with every right, besides those of `waylog keys`, for automation; 32 characters or more (none)',
  WAYLOG_JWT_ISSUER:
    'the OpenID provider whose tokens are taken, as their iss claim names it, such as https://login.example/realm (none)',
  WAYLOG_JWT_AUDIENCE: 'what the aud claim of a token must name; required with WAYLOG_JWT_ISSUER',
  WAYLOG_JWT_JWKS_URL: "where that provider's keys are (what its discovery document says)",
  WAYLOG_JWT_ROLE_CLAIM:
    'the claim that says reader, operator or admin, or the way to it with dots between (waylog_role)',
  WAYLOG_RATE_LIMIT: 'requests a second that one key may send before it is answered 429 (20000)',
  WAYLOG_RECORD_ORIGIN:
    '1 records the address, the user agent and the session of a caller with what it changes, for the audit trail; 0 does not (1)',
  WAYLOG_CORS_ORIGINS: 'origins whose pages may call from a browser, with commas between (none)',
  WAYLOG_STOP_TIMEOUT:
    'the longest that a stop may take, 1 to 600 seconds; what has no answer by then is cut off (20)',
  WAYLOG_DEMO: '1 records demo data while the server runs (0)',
  WAYLOG_RETENTION_INTERVAL: 'seconds between two runs of the retention, 1 to 604800 (3600)',
  WAYLOG_ARCHIVE_DIR: 'the folder that POST /v1/admin/archives writes to; without it the server writes none',
  WAYLOG_AUDIT_KEY: 'the Ed25519 private key in PEM that signs digests of the log (none)',
  WAYLOG_AUDIT_PUBLIC_KEYS:
    'the public keys in PEM, one after the other, of digests that other keys have signed before (none)',
  WAYLOG_AUDIT_INTERVAL: 'minutes between two digests, 1 to 1440, counted from midnight UTC (1440)',
  WAYLOG_AUDIT_EVENTS: 'new events after which a digest is taken before its time; 0 for never (0)',
  WAYLOG_AUDIT_ROUND: 'days in which every event of the log is walked again, 1 to 365 (7)',
  WAYLOG_AUDIT_DIR: 'the folder that digests are written to as files, too (none)',
  WAYLOG_FILES_DIR:
    'the folder that files are kept in, such as the content of images: of this installation alone, and the same for all its servers; none: files are refused (none)',
  WAYLOG_FILES_MAX_MB: 'the largest file that is taken, in megabytes, 1 to 100000 (256)',
  WAYLOG_FILES_COLLECT:
    'hours between two times that a server with the role projector removes the files that no event needs, 1 to 8760; 0 for never (6)',
  LOG_FORMAT: 'pretty or json (pretty)',
  LOG_LEVEL: 'error, warn, info, or debug: info and a line a request (info)',
} as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** The settings of contexts, by their names. Throws `config.invalid` that names all bad variables together. */
export function readSettings(
  env: Environment,
  contexts: readonly WithSettings[],
): Readonly<Record<string, unknown>> {
  const errors: FieldError[] = [];
  const settings = settingsOf(numbersOf(env, errors), contexts);
  if (errors.length > 0) throw invalidInput(errors, 'config.invalid');
  return settings;
}

/** Those that webhooks may reach. Throws `config.invalid`. */
export function readWebhookNetworks(env: Environment): readonly string[] {
  const errors: FieldError[] = [];
  const networks = readNetworks(env, errors);
  if (errors.length > 0) throw invalidInput(errors, 'config.invalid');
  return networks;
}

function readNetworks(env: Environment, errors: FieldError[]): string[] {
  const networks = (env['WAYLOG_WEBHOOK_NETWORKS'] ?? '').split(',').filter(Boolean);
  for (const network of networks) {
    const [address = '', bits, ...more] = network.split('/');
    const most = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1;
    const isBad = bits !== undefined && (!/^\d{1,3}$/.test(bits) || Number(bits) > most);
    if (most < 0 || isBad || more.length > 0)
      errors.push({
        field: 'WAYLOG_WEBHOOK_NETWORKS',
        message: `names ${JSON.stringify(network)}, which is no network such as 10.1.0.0/16, fd00::/8 or 192.0.2.7`,
      });
  }
  return networks;
}

const settingsOf = (number: ReadNumber, contexts: readonly WithSettings[]) =>
  Object.fromEntries(
    contexts.flatMap(({ name, settings }) => (settings ? [[name, settings.read(number)] as const] : [])),
  );

const numbersOf =
  (env: Environment, errors: FieldError[]): ReadNumber =>
  (name, fallback, min, max) => {
    const value = Number(env[name] || fallback);
    if (!Number.isInteger(value) || value < min || value > max) {
      errors.push({
        field: name,
        message: `is ${JSON.stringify(env[name])}; it must be a whole number from ${min} to ${max}`,
      });
    }
    return value;
  };

/** Checks the whole environment once. Throws `config.invalid` that names all bad variables together. */
export function readConfig(environment: Environment, contexts: readonly WithSettings[] = []): Config {
  const { env, errors: unreadable, warnings } = readSecrets(environment);
  const errors: FieldError[] = [...unreadable];
  const text = (name: keyof typeof variables, fallback: string) => env[name] || fallback;
  const numberOf = numbersOf(env, errors);
  const number = (name: keyof typeof variables, fallback: number, min: number, max: number) =>
    numberOf(name, fallback, min, max);
  const oneOf = <T extends string>(name: keyof typeof variables, fallback: T, ...allowed: T[]): T => {
    const value = text(name, fallback);
    if (!allowed.includes(value as T)) {
      errors.push({
        field: name,
        message: `is ${JSON.stringify(value)}; it must be one of ${allowed.join(', ')}`,
      });
    }
    return value as T;
  };
  const postgresUrl = (name: keyof typeof variables) => {
    const url = text(name, '');
    if (url && !isPostgresUrl(url)) {
      errors.push({
        field: name,
        message:
          'is no PostgreSQL URL: it must be like postgres://user:password@host:5432/database, with %-escapes for what is special in a URL',
      });
    }
    const repeated = repeatedParameter(url);
    if (repeated !== undefined) errors.push({ field: name, message: repeated });
    return url;
  };
  const databaseUrl = postgresUrl('DATABASE_URL');
  if (!databaseUrl && !errors.some(({ field }) => field === 'DATABASE_URL_FILE')) {
    errors.push({
      field: 'DATABASE_URL',
      message: 'is missing: `npm start` or `waylog db up` gives you a database, or name your own',
    });
  }
  const eventStore = text('EVENT_STORE', '');
  if (eventStore && !isEventStoreUrl(eventStore)) {
    errors.push({
      field: 'EVENT_STORE',
      message:
        'is no connection string of EventStoreDB: it must begin with esdb:// or esdb+discover:// and name a host. Leave it out for the log in DATABASE_URL',
    });
  }
  const webhook = text('WAYLOG_ALERT_WEBHOOK', '');
  if (webhook && !(/^https?:\/\//.test(webhook) && URL.canParse(webhook)))
    errors.push({ field: 'WAYLOG_ALERT_WEBHOOK', message: 'must begin with http:// or https://' });
  const readerUrl = postgresUrl('WAYLOG_READER_URL');
  const projectorUrl = postgresUrl('WAYLOG_PROJECTOR_URL');
  // Values of secrets are kept out of the messages.
  const adminKey = text('WAYLOG_ADMIN_KEY', '');
  if (adminKey && !/^[!-~]{32,1000}$/.test(adminKey)) {
    errors.push({
      field: 'WAYLOG_ADMIN_KEY',
      message:
        'must be 32 to 1000 printable ASCII characters without spaces; `openssl rand -hex 32` makes a good one',
    });
  }
  const jwt = readJwt(text, errors);
  const corsOrigins = text('WAYLOG_CORS_ORIGINS', '').split(',').filter(Boolean);
  for (const origin of corsOrigins) {
    if (originOf(origin) !== origin)
      errors.push({
        field: 'WAYLOG_CORS_ORIGINS',
        message: `names ${JSON.stringify(origin)}, which is no origin such as https://app.example or http://127.0.0.1:8080`,
      });
  }
  const roles = text('WAYLOG_ROLES', 'api,projector').split(',');
  if (!roles.every((role) => role === 'api' || role === 'projector')) {
    errors.push({ field: 'WAYLOG_ROLES', message: 'must be api, projector, or both with a comma between' });
  }
  if (Number(env['WAYLOG_BACKUP_INTERVAL']) > 0 && !env['WAYLOG_BACKUP_DIR'])
    errors.push({
      field: 'WAYLOG_BACKUP_INTERVAL',
      message: 'means nothing without WAYLOG_BACKUP_DIR: name the folder, too',
    });
  const config: Config = {
    databaseUrl,
    ...(projectorUrl && { projectorUrl }),
    ...(eventStore && { eventStore }),
    ...(readerUrl && { readerUrl }),
    sqlTimeout: number('WAYLOG_SQL_TIMEOUT', 5, 1, 60),
    poolSize: number('DATABASE_POOL_SIZE', 50, 3, 1_000),
    poolOverflow: number('DATABASE_POOL_OVERFLOW', 0, 0, 1_000),
    poolTimeout: number('DATABASE_POOL_TIMEOUT', 5, 1, 60),
    poolRecycle: number('DATABASE_POOL_RECYCLE', 3_600, 60, 86_400),
    host: text('HOST', '127.0.0.1'),
    port: number('PORT', 3_000, 0, 65_535),
    roles: roles as Role[],
    maxPendingCommands: number('WAYLOG_MAX_PENDING', 10_000, 1, 1_000_000),
    decisionCacheBytes: number('WAYLOG_DECISION_CACHE_MB', 96, 1, 65_536) * 1_000_000,
    settings: settingsOf(numberOf, contexts),
    verifyShare: number('WAYLOG_VERIFY_SHARE', 2, 0, 100) / 100,
    alertWebhook: text('WAYLOG_ALERT_WEBHOOK', ''),
    webhookNetworks: readNetworks(env, errors),
    alertIntervalMs: number('WAYLOG_ALERT_INTERVAL', 10, 1, 3_600) * 1_000,
    databaseLimitBytes: number('WAYLOG_DATABASE_LIMIT_GB', 0, 0, 1_000_000) * 1_000_000_000,
    logFormat: oneOf('LOG_FORMAT', 'pretty', 'pretty', 'json'),
    logLevel: oneOf<LogLevel>('LOG_LEVEL', 'info', 'error', 'warn', 'info', 'debug'),
    ...(env['WAYLOG_BACKUP_DIR'] && { backupDir: env['WAYLOG_BACKUP_DIR'] }),
    backupRecipients: text('WAYLOG_BACKUP_RECIPIENTS', ''),
    backupIntervalHours: number('WAYLOG_BACKUP_INTERVAL', 0, 0, 8_760),
    backupKeep: number('WAYLOG_BACKUP_KEEP', 7, 1, 10_000),
    ...(adminKey && { adminKey }),
    ...(jwt && { jwt }),
    rateLimit: number('WAYLOG_RATE_LIMIT', 20_000, 1, 10_000_000),
    recordsOrigin: oneOf('WAYLOG_RECORD_ORIGIN', '1', '0', '1') === '1',
    corsOrigins,
    stopTimeout: number('WAYLOG_STOP_TIMEOUT', 20, 1, 600),
    demo: oneOf('WAYLOG_DEMO', '0', '0', '1') === '1',
    retentionIntervalSeconds: number('WAYLOG_RETENTION_INTERVAL', 3_600, 1, 604_800),
    ...(env['WAYLOG_AUDIT_KEY'] && { auditKey: env['WAYLOG_AUDIT_KEY'] }),
    ...(env['WAYLOG_AUDIT_PUBLIC_KEYS'] && { auditPublicKeys: env['WAYLOG_AUDIT_PUBLIC_KEYS'] }),
    auditIntervalMinutes: number('WAYLOG_AUDIT_INTERVAL', 1_440, 1, 1_440),
    auditEvents: number('WAYLOG_AUDIT_EVENTS', 0, 0, 1_000_000_000),
    auditRoundDays: number('WAYLOG_AUDIT_ROUND', 7, 1, 365),
    ...(env['WAYLOG_AUDIT_DIR'] && { auditFolder: env['WAYLOG_AUDIT_DIR'] }),
    archiveDirectory: text('WAYLOG_ARCHIVE_DIR', '') || undefined,
    filesDirectory: text('WAYLOG_FILES_DIR', '') || undefined,
    filesMaxBytes: number('WAYLOG_FILES_MAX_MB', 256, 1, 100_000) * 1_000_000,
    filesCollectMs: number('WAYLOG_FILES_COLLECT', 6, 0, 8_760) * 3_600_000,
    warnings,
  };
  if (errors.length > 0) throw invalidInput(errors, 'config.invalid');
  return config;
}

/** Whether a text is a URL of PostgreSQL that can be parsed. */
export const isPostgresUrl = (text: string): boolean =>
  /^postgres(ql)?:\/\//.test(text) && URL.canParse(text) && isDecodable(new URL(text));

const isDecodable = ({ username, password, pathname }: URL): boolean => {
  try {
    decodeURIComponent(username + password + pathname);
    return true;
  } catch {
    return false;
  }
};

function readJwt(
  text: (name: keyof typeof variables, fallback: string) => string,
  errors: FieldError[],
): JwtConfig | undefined {
  const issuer = text('WAYLOG_JWT_ISSUER', '');
  const audience = text('WAYLOG_JWT_AUDIENCE', '');
  const jwksUrl = text('WAYLOG_JWT_JWKS_URL', '');
  const roleClaim = text('WAYLOG_JWT_ROLE_CLAIM', 'waylog_role');
  if (!issuer) {
    for (const field of ['WAYLOG_JWT_AUDIENCE', 'WAYLOG_JWT_JWKS_URL'] as const)
      if (text(field, ''))
        errors.push({ field, message: 'means nothing without WAYLOG_JWT_ISSUER: name the provider, too' });
    return undefined;
  }
  for (const [field, url] of [
    ['WAYLOG_JWT_ISSUER', issuer],
    ['WAYLOG_JWT_JWKS_URL', jwksUrl],
  ] as const)
    if (url && !isSafeUrl(url))
      errors.push({
        field,
        message: 'must begin with https:// (http:// does for this machine alone) and hold no password',
      });
  if (!audience)
    errors.push({
      field: 'WAYLOG_JWT_AUDIENCE',
      message:
        'is missing: without it every token of the provider would be taken, also those for other services',
    });
  return { issuer, audience, ...(jwksUrl && { jwksUrl }), roleClaim };
}

/** Whether what comes from an address cannot be changed on the way: TLS, or this very machine. */
export function isSafeUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  // The error names the address, and is logged.
  if (username || password) return false;
  return protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname));
}

/** Whether an address can be reached only from this machine. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || /^\[?::1\]?$/.test(host) || /^127(\.\d{1,3}){3}$/.test(host);

const originOf = (text: string): string | undefined =>
  /^https?:\/\//.test(text) && URL.canParse(text) ? new URL(text).origin : undefined;

/** Whether a text is a connection string of EventStoreDB that `EVENT_STORE` accepts. */
export const isEventStoreUrl = (text: string): boolean => /^esdb(\+discover)?:\/\/[^/?#\s]+/.test(text);

/** A URL as it can be shown, without credentials. Also accepts URLs of clusters, which name several hosts. */
export const withoutCredentials = (url: string): string => {
  const [, scheme, rest] = /^([a-z+]+:\/\/)([^/?#]*).*$/is.exec(url) ?? [];
  if (scheme === undefined || rest === undefined) return 'not a URL';
  const path = url.slice(scheme.length + rest.length).replace(/[?#].*$/s, '');
  return `${scheme}${rest.slice(rest.lastIndexOf('@') + 1)}${path}`;
};
