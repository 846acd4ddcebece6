import { statfs } from 'node:fs/promises';
import type pg from 'pg';
import { listKeys } from '#lib/access';
import { newestDigest, statementOf } from '#lib/audit';
import { databaseIdentity, isAhead, scheduledBackups } from '#lib/backup';
import { losses, openEventStore, type EventStore, type LogProblem } from '#lib/event-store';
import {
  isLoopback,
  isPooled,
  Listener,
  messageOf,
  millisecondsOf,
  readConfig,
  WaylogError,
  whyReadOnly,
  withoutCredentials,
  type FieldError,
  type Queryable,
  counted,
} from '#lib/platform';
import {
  acceptedText,
  changedTables,
  integrityFindings,
  lockRoom,
  notAccepted,
  raiseVersions,
} from '#lib/projections';
import {
  capabilities,
  contextsIn,
  endReaderSessions,
  foreignCode,
  jobTroubles,
  queryOn,
  READER_MAX_SECONDS,
  readerSessions,
  rightsDeviations,
  type DatabaseAccess,
} from '#lib/timescale';
import { schemaState } from '../../../migrations/index.js';
import { deviationText } from './commands/roles.js';
import { accessTo, withClient, withStore } from './context.js';
import { DiskFileStore, verifyFiles } from '#lib/files';
import {
  allParked,
  declaredWebhook,
  isDeclared,
  isOtherLog,
  leftReactors,
  missingTables,
  reactorsOf,
  ReferencesInLog,
  refuseOtherLog,
  statesOf,
  vocabularyOf,
  type Context,
} from '#lib/waylog';
import { reactorState } from '#lib/reactors';
import { listWebhooks, type Webhook } from '#lib/webhooks';
import { contexts } from '../../contexts.js';

export interface Finding {
  readonly check: string;
  /** `problem`: it does not work, or data are in danger. `warning`: it works, and could be better. */
  readonly level: 'ok' | 'warning' | 'problem';
  readonly what: string;
  /** What to do about it. */
  readonly remedy?: string;
}

const ok = (check: string, what: string): Finding => ({ check, level: 'ok', what });
const warning = (check: string, what: string, remedy: string): Finding => ({
  check,
  level: 'warning',
  what,
  remedy,
});
const problem = (check: string, what: string, remedy: string): Finding => ({
  check,
  level: 'problem',
  what,
  remedy,
});

/** The machine and the environment, without a database. */
export async function checkMachine(env: NodeJS.ProcessEnv, folder: string): Promise<readonly Finding[]> {
  return [node(), configuration(env), await disk(folder)];
}

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > 20 || (major === 20 && minor >= 19)
    ? ok('node', `Node.js ${process.versions.node}`)
    : problem('node', `Node.js ${process.versions.node} is too old`, 'Install Node.js 20.19 or later.');
}

function configuration(env: NodeJS.ProcessEnv): Finding {
  try {
    // Without one, `npm start` and `waylog` start their own database.
    const config = readConfig(env['DATABASE_URL'] ? env : { ...env, DATABASE_URL: 'postgres://' }, contexts);
    return isLoopback(config.host)
      ? ok('configuration', 'every variable is valid')
      : warning(
          'configuration',
          `HOST is ${config.host}: the server listens beyond this machine, and speaks HTTP, which anyone on the network path can read, keys included`,
          'Put something that speaks TLS in front of it, or leave HOST out.',
        );
  } catch (error) {
    const errors = error instanceof WaylogError ? (error.data['errors'] as FieldError[]) : [];
    return problem(
      'configuration',
      errors.map(({ field, message }) => `${field} ${message}`).join('; ') || messageOf(error),
      'Put the named variables right; docs/reference/configuration.md, lists them.',
    );
  }
}

const GIB = 2 ** 30;

async function disk(folder: string): Promise<Finding> {
  const { bavail, blocks, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const what = `${(free / GIB).toFixed(1)} GiB (${((100 * bavail) / blocks).toFixed(0)} %) free at ${folder}`;
  const remedy =
    'Make room: a full disk stops commands. `waylog archive run --help` moves old data to files.';
  if (free < GIB) return problem('disk', what, remedy);
  return free < 5 * GIB || bavail / blocks < 0.1 ? warning('disk', what, remedy) : ok('disk', what);
}

interface Place {
  readonly pool: pg.Pool;
  readonly url: string;
  /** With the role that keeps keys; default `url`. */
  readonly appUrl?: string;
  /** Where the log is, if not in the database. */
  readonly eventStore: string | undefined;
}

/** The database and what runs on it. Each check is independent: a failure is reported, and the others continue. */
export async function checkDatabase(
  { pool, url, appUrl = url, eventStore }: Place,
  env: NodeJS.ProcessEnv,
): Promise<Finding[]> {
  const checks: readonly (readonly [string, () => Promise<Finding[]>])[] = [
    ['schema', () => schema(pool, url)],
    ['writes', () => writes(pool)],
    ['durability', () => durability(pool)],
    ['connections', () => connections(pool, env)],
    ['pooler', () => withClient(url, (client) => Promise.resolve(pooler(client)))],
    ['clock', () => clock(pool)],
    ['transactions', () => transactions(pool)],
    ['backups', () => backups(url, env)],
  ];
  // These checks need what the migrations create.
  const ofSchema: typeof checks = [
    ['edition', () => edition(pool)],
    ['jobs', () => jobs(pool)],
    ['locks', () => locks(pool)],
    ['log', () => withLog(eventStore, pool, url, (store) => log(store, pool, eventStore))],
    ['projections', () => withLog(eventStore, pool, url, (store) => projections(store, pool))],
    [
      'reactors',
      () =>
        withLog(eventStore, pool, url, async (store) =>
          reactors(store, pool, await withClient(appUrl, listWebhooks)),
        ),
    ],
    ['losses', () => lost(pool)],
    ['integrity', () => integrity(pool)],
    ['contexts', () => leftTables(pool)],
    ...(eventStore === undefined ? [['digests', () => digests(pool, env)] as const] : []),
  ];
  const findings = await run(checks);
  const isMigrated = findings.every(({ check, level }) => check !== 'schema' || level === 'ok');
  return isMigrated ? [...findings, ...(await run(ofSchema))] : findings;
}

const HOUR_MS = 3_600_000;

/** The scheduled backups of servers; undefined if there are none. */
async function backups(url: string, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const hours = Number(env['WAYLOG_BACKUP_INTERVAL'] || 0);
  const folder = env['WAYLOG_BACKUP_DIR'];
  // A value that is not a number has been reported as a bad variable.
  if (!folder || !(hours > 0)) return [];
  const remedy = 'The log of the server that takes them says why; waylog backup --scheduled takes one now.';
  const of = await withClient(url, databaseIdentity);
  const newest = (await scheduledBackups(folder, of)).find((backup) => !isAhead(backup));
  if (!newest) return [problem('backups', `no complete one of ${of.database} in ${folder}`, remedy)];
  const { createdAt, dump } = newest.manifest;
  const what = `the newest of ${of.database} is of ${createdAt}${dump.encryption ? ', encrypted' : ''}; there should be one every ${hours} h`;
  return [
    Date.now() - Date.parse(createdAt) > 2 * hours * HOUR_MS
      ? problem('backups', what, remedy)
      : ok('backups', what),
  ];
}

/** The roles that Waylog uses on this database, and whether they have exactly the rights that they should. */
export async function checkRoles(
  databaseUrl: string,
): Promise<{ readonly access?: DatabaseAccess; readonly findings: readonly Finding[] }> {
  let access: DatabaseAccess;
  try {
    access = await accessTo(databaseUrl);
  } catch (error) {
    return { findings: [problem('roles', messageOf(error), 'See docs/how-to/database-roles.md.')] };
  }
  const { app, projector, warnings } = access;
  const findings = warnings.map((text) =>
    warning('roles', text, 'See docs/how-to/database-roles.md and docs/how-to/tls.md.'),
  );
  const deviations = await run([['roles', () => deviationsOf(projector.url)]]);
  findings.push(...deviations);
  if (findings.length === 0)
    findings.push(ok('roles', `appends as ${app.role}, keeps the tables as ${projector.role}`));
  return { access, findings };
}

/** Whether there are valid keys or a provider, and for how long. `url` is the application role's, or the owner's. */
export const checkKeys = (url: string, env: NodeJS.ProcessEnv): Promise<Finding[]> =>
  run([['keys', () => withClient(url, (client) => keys(client, env))]]);

/** Whether the files are there that events need. `url` is the application role's, or the owner's: it opens what is sealed. */
export const checkFiles = (
  url: string,
  eventStore: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<Finding[]> => run([['files', () => files(url, eventStore, env)]]);

async function files(
  url: string,
  eventStore: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<Finding[]> {
  const folder = env['WAYLOG_FILES_DIR'];
  if (!folder) return [];
  return withStore({ url, eventStore }, async (store) => {
    const place = new DiskFileStore(folder);
    const vocabulary = vocabularyOf(contexts);
    try {
      await refuseOtherLog(place, store, vocabulary);
    } catch (error) {
      return [
        problem(
          'files',
          messageOf(error),
          'Put DATABASE_URL, EVENT_STORE or WAYLOG_FILES_DIR right. Until then no file is removed, also none of what was erased.',
        ),
      ];
    }
    const references = new ReferencesInLog(store, vocabulary, { skipsUnreadable: true });
    const found = await verifyFiles(place, references, { withoutReading: true });
    const { missing, referenced } = found;
    const what = `${counted(found.files, 'file')} in ${folder}, events need ${referenced}`;
    return [
      missing.length === 0
        ? ok('files', `${what}, and they are there`)
        : problem(
            'files',
            `${what}, and ${missing.length} of those are missing, such as ${missing[0] ?? ''}`,
            'Bring them back from a backup of the folder, or send them again: waylog files verify names all.',
          ),
    ];
  });
}

const SOON_MS = 7 * 86_400_000;

async function keys(db: Queryable, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const all = await listKeys(db);
  const valid = all.filter(({ state }) => state === 'valid');
  const others = ['WAYLOG_ADMIN_KEY', 'WAYLOG_ADMIN_KEY_FILE', 'WAYLOG_JWT_ISSUER'].filter(
    (name) => env[name],
  );
  const make = 'waylog keys create --name NAME --role reader|operator|admin';
  if (valid.length === 0 && others.length === 0)
    return [
      all.length === 0
        ? ok('keys', 'none yet; a server that starts on this machine alone makes the first and prints it')
        : warning('keys', `none of ${all.length} is valid any more: nobody is let in`, make),
    ];
  const ending = valid.filter(
    ({ expiresAt }) => expiresAt !== undefined && millisecondsOf(expiresAt) < Date.now() + SOON_MS,
  );
  const admins = valid.filter(({ role }) => role === 'admin').length;
  return [
    ok(
      'keys',
      [`${valid.length} valid, ${admins} of them admin`, ...others.map((name) => `${name} is set`)].join(
        '; ',
      ),
    ),
    ...ending.map(({ name, id, expiresAt }) =>
      warning('keys', `${name} (${id}) ends at ${String(expiresAt)}`, `${make}, and hand it out before then`),
    ),
  ];
}

async function deviationsOf(url: string): Promise<Finding[]> {
  return withClient(url, async (client) => {
    const found = await rightsDeviations(queryOn(client));
    const foreign = (await foreignCode(queryOn(client))).map((what) =>
      problem(
        'roles',
        `no migration makes ${what}, which would run with the rights of the role that uses the tables`,
        'Find out who has made it; drop it, or move it into a schema of your own. Until then nothing is migrated, backed up or restored.',
      ),
    );
    const deviations = found.map((deviation) =>
      (deviation.has ? problem : warning)(
        'roles',
        deviationText(deviation),
        deviation.has
          ? `waylog migrate; if it stays, another role that ${deviation.role} is a member of gives it that`
          : 'waylog migrate',
      ),
    );
    return [...foreign, ...deviations];
  });
}

async function run(checks: readonly (readonly [string, () => Promise<Finding[]>])[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [name, check] of checks) {
    try {
      findings.push(...(await check()));
    } catch (error) {
      findings.push(
        problem(name, `cannot be checked: ${messageOf(error)}`, 'Put the reason right, and ask again.'),
      );
    }
  }
  return findings;
}

async function edition(pool: pg.Pool): Promise<Finding[]> {
  const found = await capabilities(pool);
  const missing = Object.entries(found).flatMap(([name, value]: [string, unknown]) =>
    typeof value === 'object' && value !== null && 'reason' in value
      ? [name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)]
      : [],
  );
  const because =
    found.edition === 'apache'
      ? 'the Timescale (Community) edition has them'
      : 'there are no background workers';
  return [
    ok(
      'edition',
      `PostgreSQL ${found.postgresql}, TimescaleDB ${found.timescaledb}, ${found.edition} edition` +
        (missing.length > 0 ? `, without ${missing.join(', ')}: ${because}` : ''),
    ),
  ];
}

/** Undefined if nothing is scheduled. */
async function jobs(pool: pg.Pool): Promise<Finding[]> {
  const found = await capabilities(pool);
  if (!found.scheduler.available) return [];
  const troubles = await jobTroubles(queryOn(pool));
  if (troubles.length === 0) return [ok('jobs', 'policies of TimescaleDB run')];
  return troubles.map(({ jobId, job, tableName, what, remedy }) =>
    problem(
      'jobs',
      jobId === undefined ? what : `${job}${tableName ? ` of ${tableName}` : ''} (job ${jobId}): ${what}`,
      remedy,
    ),
  );
}

async function schema(pool: pg.Pool, url: string): Promise<Finding[]> {
  const { missing, unknown } = await schemaState(url);
  if (unknown.length > 0)
    return [
      problem(
        'schema',
        `newer than this code: it has ${unknown.join(', ')}`,
        'Run the Waylog that made it; this one does not start on it.',
      ),
    ];
  const tables = await missingTables(contexts, pool);
  const lacks = missing.length > 0 ? missing.join(', ') : `the tables ${tables.join(', ')}`;
  if (missing.length + tables.length > 0) return [problem('schema', `lacks ${lacks}`, 'waylog migrate')];
  const changed = await Promise.all(
    contexts.map(({ name, projections }) => changedTables(pool, name, projections)),
  );
  const found = changed
    .flat()
    .map((table) => problem('schema', `the table ${table.table} ${table.why}`, raiseVersions([table])));
  return found.length > 0
    ? found
    : [ok('schema', 'at the newest migration (`waylog schema check` looks for drift)')];
}

async function writes(pool: pg.Pool): Promise<Finding[]> {
  const why = await whyReadOnly(pool);
  return why === undefined
    ? [ok('writes', 'the database takes them')]
    : [problem('writes', why, 'Commands are answered 503 until then; nothing that was answered is lost.')];
}

async function durability(pool: pg.Pool): Promise<Finding[]> {
  const { rows } = await pool.query<{ name: string; setting: string; standbys: string }>(
    `select name, setting, current_setting('synchronous_standby_names') as standbys from pg_settings
      where name in ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums')`,
  );
  const findings = rows.flatMap(({ name, setting, standbys }) => {
    if (name === 'synchronous_commit' && setting === 'local' && standbys !== '') {
      return [
        warning(
          'durability',
          `synchronous_commit is local: nothing waits for the standbys (${standbys}), so a fail-over to one can lose what was answered`,
          'Set it to on, for the server, the database or the role, whichever has it; or leave it if that was meant.',
        ),
      ];
    }
    // Every session of Waylog has raised synchronous_commit to `on` by now.
    if (setting === 'off') {
      return name === 'data_checksums'
        ? [
            warning(
              'durability',
              'data checksums are off',
              'Turn them on while the server is stopped: pg_checksums --enable.',
            ),
          ]
        : [
            problem(
              'durability',
              `${name} is ${setting}: a crash of the server can lose what was answered`,
              `alter system reset ${name}; select pg_reload_conf();`,
            ),
          ];
    }
    return [];
  });
  return findings.length > 0 ? findings : [ok('durability', 'what is answered is on disk; checksums are on')];
}

async function connections(pool: pg.Pool, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const { rows } = await pool.query<{ used: number; max: number }>(
    `select count(*)::integer as used, current_setting('max_connections')::integer as max from pg_stat_activity
      where backend_type = 'client backend'`,
  );
  const { used = 0, max = 0 } = rows[0] ?? {};
  const size = Number(env['DATABASE_POOL_SIZE'] || 50);
  const what = `${used} of ${max} connections in use; a server opens up to ${size + 5}`;
  return [
    used + size + 5 > max
      ? warning('connections', what, 'Lower DATABASE_POOL_SIZE, or raise max_connections of PostgreSQL.')
      : ok('connections', what),
  ];
}

/** A pooler that does not keep sessions together has been refused before this. */
const pooler = (client: pg.Client): Finding[] =>
  isPooled(client) ? [ok('pooler', 'one is before the database, and sessions stay together behind it')] : [];

async function locks(pool: pg.Pool): Promise<Finding[]> {
  const found = await lockRoom(pool);
  if (!found) return [];
  const { table, chunks, needed, room, setting } = found;
  const what = `${table} has ${counted(chunks, 'chunk')}: rebuilding it takes about ${needed} locks, all transactions have ${room}`;
  return [
    needed > room / 2
      ? warning(
          'locks',
          what,
          `Set max_locks_per_transaction to ${setting * 2} or more and restart PostgreSQL, or have fewer chunks: waylog archive run --help.`,
        )
      : ok('locks', what),
  ];
}

const MAX_SKEW_MS = 1_000;

async function clock(pool: pg.Pool): Promise<Finding[]> {
  const before = Date.now();
  const { rows } = await pool.query<{ now: string }>(
    `select extract(epoch from clock_timestamp()) * 1000 as now`,
  );
  const after = Date.now();
  const there = Number(rows[0]?.now);
  // The exact moment between question and answer is unknown.
  const skew = Math.max(0, before - there, there - after);
  const what = `this machine and the database differ by ${skew.toFixed(0)} ms`;
  return [
    skew > MAX_SKEW_MS
      ? warning('clock', what, 'Let NTP set both clocks: lag, ages and asOf times rest on them.')
      : ok('clock', what),
  ];
}

async function transactions(pool: pg.Pool): Promise<Finding[]> {
  const endless = (await readerSessions(queryOn(pool))).filter(({ seconds }) => seconds > READER_MAX_SECONDS);
  const pids = endless.map(({ pid }) => pid);
  const { rows } = await pool.query<{ pid: number; name: string; minutes: number }>(
    `select pid, coalesce(nullif(application_name, ''), usename::text) as name,
            (extract(epoch from clock_timestamp() - xact_start) / 60)::integer as minutes
       from pg_stat_activity
      where datname = current_database() and xact_start < clock_timestamp() - interval '5 minutes'
        and backend_type = 'client backend' and pid <> all ($1::integer[])`,
    [pids],
  );
  if (rows.length + endless.length === 0) return [ok('transactions', 'none is older than five minutes')];
  return [
    ...endless.map(({ pid, seconds }) =>
      warning(
        'transactions',
        `a statement of ad-hoc SQL (process ${pid} of the database) has run for ${seconds.toFixed(0)} s, though none may for more than 60`,
        endReaderSessions([pid]),
      ),
    ),
    ...rows.map(({ pid, name, minutes }) =>
      warning(
        'transactions',
        `${name} (process ${pid} of the database) has had one open for ${minutes} minutes`,
        `It holds back vacuum and swaps of rebuilt tables. End it where it came from, or: select pg_terminate_backend(${pid});`,
      ),
    ),
  ];
}

async function withLog(
  eventStore: string | undefined,
  pool: pg.Pool,
  url: string,
  check: (store: EventStore) => Promise<Finding[]>,
): Promise<Finding[]> {
  const listener = new Listener(url, 'waylog doctor');
  const store = await openEventStore({
    eventStore,
    pool,
    listener,
    vocabulary: vocabularyOf(contexts),
  });
  try {
    return await check(store);
  } finally {
    await store.close();
    await listener.close();
  }
}

async function log(store: EventStore, pool: pg.Pool, eventStore: string | undefined): Promise<Finding[]> {
  const where = eventStore === undefined ? 'in the database' : `at ${withoutCredentials(eventStore)}`;
  const head = await store.head();
  if (await isOtherLog(contexts, pool, store)) {
    return [
      problem(
        'log',
        `${where}, and the tables are folded from another one`,
        'Put EVENT_STORE right, or see `waylog projections adopt --help`.',
      ),
    ];
  }
  const found = eventStore === undefined ? [] : ((await store.check?.({ withinMs: LOOK_MS })) ?? []);
  const lost = (await allParked(contexts, pool)).flatMap(({ streamId, accepted }) =>
    accepted ? [{ streamId, accepted }] : [],
  );
  const streams = new Set(lost.map(({ streamId }) => streamId));
  return [
    ok('log', `${where}, up to position ${head}`),
    ...notAccepted(found, streams).map(ofLog),
    ...lost.map(({ streamId, accepted }) => ok('log', `${streamId}: ${acceptedText(accepted)}`)),
  ];
}

/** How long the end of a log in EventStoreDB is searched; `waylog verify` searches all of it. */
const LOOK_MS = 10_000;

const FOREIGN =
  'The stream takes no more commands. Keep that application away, and take the log to another store with `waylog log copy`, which leaves the event out.';
const LIMIT =
  'Write the metadata of that stream without it before the server is scavenged, and its events are there again (docs/how-to/run-on-eventstoredb.md).';
const LOST =
  'See docs/how-to/run-on-eventstoredb.md: before a scavenge `waylog log copy` takes its events along, later only a backup has them.';

const remedies: Readonly<Record<string, string>> = { 'foreign-event': FOREIGN, 'stream-limit': LIMIT };

/** What others have done to the log, as `waylog verify` reports it. */
const ofLog = ({ code, severity, streamId, detail }: LogProblem): Finding =>
  severity === 'warning'
    ? ok('log', `${detail}; \`waylog verify\` looks through all of it`)
    : problem('log', `${code}: ${streamId ?? ''} ${detail}`, remedies[code] ?? LOST);

async function projections(store: EventStore, pool: pg.Pool): Promise<Finding[]> {
  const found = await Promise.all(contexts.map((context) => projectorOf(context, store, pool)));
  return found.flat();
}

async function projectorOf(context: Context, store: EventStore, pool: pg.Pool): Promise<Finding[]> {
  const [state] = await statesOf(context, pool, store);
  const of = contexts.length > 1 ? `${context.name}: ` : '';
  if (!state)
    return [
      warning('projections', `${of}no projector has run on this database yet`, 'Start the server once.'),
    ];
  const findings: Finding[] = [];
  const lag = `${counted(state.lagEvents, 'event')} behind, the oldest ${state.lagSeconds.toFixed(1)} s old`;
  if (state.state === 'paused')
    findings.push(
      warning(
        'projections',
        `${of}paused since ${state.pausedSince ?? ''} by ${state.pausedBy ?? ''}: ${state.pauseReason ?? ''}; ${lag}`,
        `waylog projections resume${of && ` ${context.name}`}`,
      ),
    );
  else if (state.state === 'failed')
    findings.push(
      problem(
        'projections',
        `${of}failed: ${state.lastError ?? ''}; ${lag}`,
        'See the log of the server that leads.',
      ),
    );
  else if (state.state === 'stopped')
    findings.push(
      warning(
        'projections',
        `${of}no server leads the projector; ${lag}`,
        'Start a server with the role projector.',
      ),
    );
  else if (state.stuckSeconds > 60)
    findings.push(
      problem(
        'projections',
        `${of}stuck for ${state.stuckSeconds.toFixed(0)} s; ${lag}`,
        'waylog projections',
      ),
    );
  else findings.push(ok('projections', `${of}${state.state}; ${lag}`));
  if (state.parkedStreams > 0)
    findings.push(
      warning('projections', `${of}${counted(state.parkedStreams, 'stream')} parked`, 'waylog parked list'),
    );
  return findings;
}

async function reactors(store: EventStore, pool: pg.Pool, webhooks: readonly Webhook[]): Promise<Finding[]> {
  const declared = [
    ...reactorsOf(contexts, store),
    ...webhooks.map((one) => declaredWebhook(one, contexts, store)),
  ];
  const states = await Promise.all(declared.map((one) => reactorState(pool, one)));
  const findings = states.map((one): Finding => {
    const lag =
      one.kind === 'deadline'
        ? `${counted(one.lagEvents, 'command')} due and not sent, ${one.lagSeconds.toFixed(1)} s late`
        : `${counted(one.lagEvents, 'event')} behind, the oldest ${one.lagSeconds.toFixed(1)} s old`;
    const is = `${one.name}: ${one.state}; ${lag}`;
    if (one.isOfOtherLog)
      return problem(
        'reactors',
        `${one.name}: its position is one of another log, and it does nothing`,
        `waylog reactors reset ${one.name} --to POSITION`,
      );
    switch (one.state) {
      case 'paused':
        return warning(
          'reactors',
          `${is}; since ${one.pausedSince ?? ''} by ${one.pausedBy ?? ''}: ${one.pauseReason ?? ''}`,
          `waylog reactors resume ${one.name}`,
        );
      case 'failed':
        return problem(
          'reactors',
          `${is}; ${one.lastError ?? ''}`,
          'See the log of the server that runs it.',
        );
      case 'stopped':
      case 'never-ran':
        return warning('reactors', is, 'Start a server with the role projector.');
      case 'active':
      case 'catching-up':
        return one.lagSeconds > 60 ? problem('reactors', is, 'waylog reactors') : ok('reactors', is);
    }
  });
  const parked = states.filter((one) => one.parked > 0);
  const left = await leftReactors(contexts, pool);
  return [
    ...findings,
    ...left.map(({ name, waiting }) =>
      warning(
        'reactors',
        `${name} has run here, and no context of this application has it any more` +
          (waiting > 0 ? `: nobody does the ${counted(waiting, 'thing')} that wait for it` : ''),
        `If it is gone for good: waylog reactors forget ${name}. If its name has changed, give it the old one.`,
      ),
    ),
    ...parked.map((one) =>
      warning('reactors', `${one.name}: ${one.parked} parked`, `waylog reactors waiting ${one.name}`),
    ),
  ];
}

async function lost(pool: pg.Pool): Promise<Finding[]> {
  const open = await losses(pool, { open: true });
  return [
    open.length === 0
      ? ok('losses', 'the log holds all that was answered, as far as anybody has noticed')
      : problem(
          'losses',
          `the log went back ${open.length} times and lost events that were answered, and nobody has acknowledged it`,
          'waylog log losses, then waylog log acknowledge ID --why TEXT',
        ),
  ];
}

/** The signed digests of the log; undefined if none are configured. */
async function digests(pool: pg.Pool, env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const newest = await newestDigest(pool);
  const hasKey = Boolean(env['WAYLOG_AUDIT_KEY'] || env['WAYLOG_AUDIT_KEY_FILE']);
  if (!newest) {
    return hasKey
      ? [warning('digests', 'no digest of the log has been signed yet', 'waylog audit digest signs one now')]
      : [];
  }
  const said = statementOf(newest.document);
  if (!said)
    return [problem('digests', `digest ${newest.number} cannot be read`, 'waylog verify --audit says more')];
  const { rows } = await pool.query<{ events: number }>(
    `select count(*)::integer as events from log.events where position > $1`,
    [said.position],
  );
  const events = rows[0]?.events ?? 0;
  const minutes = Number(env['WAYLOG_AUDIT_INTERVAL'] || 0) || 1_440;
  const isLate = Date.now() - millisecondsOf(said.takenAt) > 2 * minutes * 60_000;
  return events > 0 && isLate
    ? [
        problem(
          'digests',
          `the newest digest is of ${said.takenAt}, and ${counted(events, 'event')} came since`,
          'Where a server signs digests, something is not as it was recorded, or it does not run: `waylog verify --audit` names what, and docs/how-to/audit.md says what to do',
        ),
      ]
    : [ok('digests', `the newest is of ${said.takenAt}; ${counted(events, 'event')} came since`)];
}

/** Tables that nothing keeps any more: no erasure and no retention reaches what is in them. */
async function leftTables(pool: pg.Pool): Promise<Finding[]> {
  const declared = contexts.map(({ name }) => name);
  const undeclared = (await contextsIn(queryOn(pool))).filter((name) => !declared.includes(name));
  // Every database has the tables of the flight, for applications without it, too.
  const left = await withRows(pool, undeclared);
  const findings = left.map((name) =>
    warning(
      'contexts',
      `the schema ${name} is of a context that this application does not have: no erasure reaches what is in it`,
      `If the context is gone for good, drop what is left of it, as the owner: drop schema ${['', 'rebuild_', 'verify_'].map((of) => of + name).join(', ')} cascade. docs/how-to/add-a-context.md says what to do before.`,
    ),
  );
  const { rows } = await pool.query<{ projector: string; projection: string }>(
    `select projector, projection from projection.checkpoints
      where projector = any ($1) and to_regclass(format('%I.%I', projector, projection)) is not null
      order by 1, 2`,
    [declared],
  );
  for (const one of rows.filter((row) => !isDeclared(contexts, row))) {
    const table = `${one.projector}.${one.projection}`;
    findings.push(
      warning(
        'contexts',
        `the table ${table} is not declared any more: no erasure reaches what is in it`,
        `If it is gone for good, drop it, as the owner: drop table ${table}`,
      ),
    );
  }
  return findings.length > 0 ? findings : [ok('contexts', 'all tables of contexts are declared')];
}

/** Those schemas in which something is. */
async function withRows(pool: pg.Pool, schemas: readonly string[]): Promise<string[]> {
  const { rows } = await pool.query<{ schema: string; table: string }>(
    `select nspname as schema, format('%I.%I', nspname, relname) as table
      from pg_class join pg_namespace on pg_namespace.oid = relnamespace
      where nspname = any ($1) and relkind in ('r', 'p')
      order by 1, 2`,
    [schemas],
  );
  const found = new Set<string>();
  for (const { schema, table } of rows) {
    if (found.has(schema)) continue;
    const { rowCount } = await pool.query(`select from ${table} limit 1`);
    if (rowCount) found.add(schema);
  }
  return [...found];
}

async function integrity(pool: pg.Pool): Promise<Finding[]> {
  const all = await integrityFindings(pool, { open: true });
  const [open, left] = [
    all.filter((one) => isDeclared(contexts, one)),
    all.filter((one) => !isDeclared(contexts, one)),
  ];
  const streamsOf = (found: typeof open) => counted(new Set(found.map(({ key }) => key)).size, 'stream');
  const [untold, different] = [open.filter(({ error }) => error), open.filter(({ error }) => !error)];
  const findings: Finding[] = [];
  if (different.length > 0)
    findings.push(
      problem(
        'integrity',
        `${streamsOf(different)} of which a table is not what the log says`,
        'waylog integrity --open, then waylog verify --repair',
      ),
    );
  if (untold.length > 0)
    findings.push(
      problem(
        'integrity',
        `${streamsOf(untold)} of which the log no longer says what is right: it has lost events, or cannot open them`,
        'waylog integrity --open says why. No repair can help: see docs/how-to/at-three-in-the-morning.md#integrityviolation.',
      ),
    );
  const tables = [...new Set(left.map(({ projector, projection }) => `${projector}.${projection}`))];
  for (const table of tables)
    findings.push(
      warning(
        'integrity',
        `open findings of ${table}, which is not declared any more: nothing compares it`,
        `If it is gone for good: waylog integrity close ${table}`,
      ),
    );
  return findings.length > 0 ? findings : [ok('integrity', 'no open findings')];
}
