import { invalidInput, type FieldError } from './errors.js';

export type Role = 'api' | 'projector';

export interface Config {
  readonly databaseUrl: string;
  /** Where the log is when it is not in that database: a connection string of EventStoreDB. */
  readonly eventStore?: string;
  /** A role for ad-hoc SQL instead of the one that Waylog makes. */
  readonly readerUrl?: string;
  /** The longest that ad-hoc SQL may run, in seconds. */
  readonly sqlTimeout: number;
  /** Connections to the database. */
  readonly poolSize: number;
  readonly host: string;
  readonly port: number;
  /** What this process does: answer HTTP, fold events into tables, or both. */
  readonly roles: readonly Role[];
  /** Commands that may wait before more are refused with 503. */
  readonly maxPendingCommands: number;
  readonly logFormat: 'pretty' | 'json';
  /** Where backups go that are asked for by HTTP; without it they are refused. */
  readonly backupDir?: string;
  /** The most of the time, from 0 to 1, that the scheduled verification may work; 0 for never. */
  readonly verifyShare: number;
  /** Where alerts are sent as they begin and cease to fire; empty for nowhere. */
  readonly alertWebhook: string;
  readonly alertIntervalMs: number;
  /** What the database may grow to, for the alert on disk space; 0 to go by the file system. */
  readonly databaseLimitBytes: number;
  /** The longest that a stop may take, in seconds; then the server ends at once. */
  readonly stopTimeout: number;
  /** Records a demo flight while the server runs. */
  readonly demo: boolean;
  /** How often chunks that are too old are dropped, where TimescaleDB has no policies for it. */
  readonly retentionIntervalSeconds: number;
  /** Where archives are written; undefined where the server must not write any. */
  readonly archiveDirectory: string | undefined;
}

/** Every variable with its meaning and default: for `--help` and the documentation. */
export const variables = {
  DATABASE_URL: 'where the TimescaleDB is, such as postgres://user:password@127.0.0.1:5432/waylog (required)',
  EVENT_STORE:
    'where the log is, such as esdb://user:password@127.0.0.1:2113 or esdb+discover://nodes.example (in the database)',
  DATABASE_POOL_SIZE: 'connections to the database, 1 to 1000 (50)',
  HOST: 'the address to listen on (127.0.0.1)',
  PORT: 'the port to listen on, 0 for any free one (3000)',
  WAYLOG_ROLES: 'what this process does, of api and projector (api,projector)',
  WAYLOG_MAX_PENDING: 'commands that may wait before more are answered 503 (10000)',
  WAYLOG_BACKUP_DIR: 'the folder for backups that are asked for by HTTP, which are refused without it (none)',
  WAYLOG_VERIFY_SHARE:
    'percent of the time that the scheduled verification may work, 0 to 100; 0 for never (2)',
  WAYLOG_ALERT_WEBHOOK:
    'http(s) address that is sent alerts as JSON when they begin and cease to fire (none)',
  WAYLOG_ALERT_INTERVAL: 'seconds between two looks at the alert rules, 1 to 3600 (10)',
  WAYLOG_DATABASE_LIMIT_GB:
    'what the database may grow to, for the alert on disk space; 0 to go by the file system under it, where that can be seen (0)',
  WAYLOG_READER_URL: 'a database URL with a role of your own for ad-hoc SQL (the role that Waylog makes)',
  WAYLOG_SQL_TIMEOUT: 'the longest that ad-hoc SQL may run, 1 to 60 seconds (5)',
  WAYLOG_STOP_TIMEOUT:
    'the longest that a stop may take, 1 to 600 seconds; what has no answer by then is cut off (20)',
  WAYLOG_DEMO: '1 records a demo flight while the server runs (0)',
  WAYLOG_RETENTION_INTERVAL: 'seconds between two runs of the retention, 1 to 604800 (3600)',
  WAYLOG_ARCHIVE_DIR: 'the folder that POST /v1/admin/archives writes to; without it the server writes none',
  LOG_FORMAT: 'pretty or json (pretty)',
} as const;

type Environment = Readonly<Record<string, string | undefined>>;

/** The whole environment, checked once. Throws `config.invalid` that names every bad variable together. */
export function readConfig(env: Environment): Config {
  const errors: FieldError[] = [];
  const text = (name: keyof typeof variables, fallback: string) => env[name] || fallback;
  const number = (name: keyof typeof variables, fallback: number, min: number, max: number) => {
    const value = Number(text(name, String(fallback)));
    if (!Number.isInteger(value) || value < min || value > max) {
      errors.push({
        field: name,
        message: `is ${JSON.stringify(env[name])}; it must be a whole number from ${min} to ${max}`,
      });
    }
    return value;
  };
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
  const databaseUrl = text('DATABASE_URL', '');
  if (!/^postgres(ql)?:\/\//.test(databaseUrl)) {
    errors.push({
      field: 'DATABASE_URL',
      message: databaseUrl
        ? 'is no PostgreSQL URL: it must begin with postgres://'
        : 'is missing: `npm start` or `waylog db up` gives you a database, or name your own',
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
  if (webhook && !/^https?:\/\//.test(webhook))
    errors.push({ field: 'WAYLOG_ALERT_WEBHOOK', message: 'must begin with http:// or https://' });
  const readerUrl = text('WAYLOG_READER_URL', '');
  if (readerUrl && !/^postgres(ql)?:\/\//.test(readerUrl)) {
    errors.push({
      field: 'WAYLOG_READER_URL',
      message: 'is no PostgreSQL URL: it must begin with postgres://',
    });
  }
  const roles = text('WAYLOG_ROLES', 'api,projector').split(',');
  if (!roles.every((role) => role === 'api' || role === 'projector')) {
    errors.push({ field: 'WAYLOG_ROLES', message: 'must be api, projector, or both with a comma between' });
  }
  const config: Config = {
    databaseUrl,
    ...(eventStore && { eventStore }),
    ...(readerUrl && { readerUrl }),
    sqlTimeout: number('WAYLOG_SQL_TIMEOUT', 5, 1, 60),
    poolSize: number('DATABASE_POOL_SIZE', 50, 1, 1_000),
    host: text('HOST', '127.0.0.1'),
    port: number('PORT', 3_000, 0, 65_535),
    roles: roles as Role[],
    maxPendingCommands: number('WAYLOG_MAX_PENDING', 10_000, 1, 1_000_000),
    verifyShare: number('WAYLOG_VERIFY_SHARE', 2, 0, 100) / 100,
    alertWebhook: text('WAYLOG_ALERT_WEBHOOK', ''),
    alertIntervalMs: number('WAYLOG_ALERT_INTERVAL', 10, 1, 3_600) * 1_000,
    databaseLimitBytes: number('WAYLOG_DATABASE_LIMIT_GB', 0, 0, 1_000_000) * 1_000_000_000,
    logFormat: oneOf('LOG_FORMAT', 'pretty', 'pretty', 'json'),
    ...(env['WAYLOG_BACKUP_DIR'] && { backupDir: env['WAYLOG_BACKUP_DIR'] }),
    stopTimeout: number('WAYLOG_STOP_TIMEOUT', 20, 1, 600),
    demo: oneOf('WAYLOG_DEMO', '0', '0', '1') === '1',
    retentionIntervalSeconds: number('WAYLOG_RETENTION_INTERVAL', 3_600, 1, 604_800),
    archiveDirectory: text('WAYLOG_ARCHIVE_DIR', '') || undefined,
  };
  if (errors.length > 0) throw invalidInput(errors, 'config.invalid');
  return config;
}

/** Whether a text is a connection string of EventStoreDB, as `EVENT_STORE` takes it. */
export const isEventStoreUrl = (text: string): boolean => /^esdb(\+discover)?:\/\/[^/?#\s]+/.test(text);

/** A URL as it may be shown: without what logs in. Takes those of clusters, too, which name several hosts. */
export const withoutCredentials = (url: string): string => {
  const [, scheme, rest] = /^([a-z+]+:\/\/)([^/?#]*).*$/is.exec(url) ?? [];
  if (scheme === undefined || rest === undefined) return 'not a URL';
  const path = url.slice(scheme.length + rest.length).replace(/[?#].*$/s, '');
  return `${scheme}${rest.slice(rest.lastIndexOf('@') + 1)}${path}`;
};
