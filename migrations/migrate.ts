import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { QueryRunner } from 'typeorm';
import {
  conflict,
  endClient,
  invalidInput,
  isTransient,
  messageOf,
  notFound,
  openSession,
  prepareSession,
  retry,
  WaylogError,
} from '#lib/platform';
import { noteErasures } from '#lib/event-store';
import {
  contextsIn,
  ensureDatabaseRoles,
  ensureReaderRole,
  failingAt,
  noteContexts,
  queryOn,
  refuseForeignCode,
  readCatalog,
  startScheduler,
  userSchemas,
  type ModelDefinition,
  type Query,
  type SchemaValidationResult,
  type ValidationIssue,
  type ValidationLevel,
} from '#lib/timescale';
import { migrations as allMigrations } from './all.js';
import type { MigrationInfo, MigrationRequest, MigrationResponse, Phase } from './messages.js';
import { known, WAYLOG, type KnownMigration, type MigrationClass } from './migration.js';
import {
  appliedMigrations,
  ensureRecords,
  migrationInfos,
  recordApplied,
  recordReverted,
  type AppliedMigration,
} from './records.js';
import { frameMinutesAggregate } from './1790000006000-hypertables.js';
import { snapshot as wholeSnapshot } from './schema-snapshot.js';
import { modelsOfWaylog, type Snapshot } from './snapshot.js';
import { dropTables, makeTables, type DeclaredContext } from './make-tables.js';
import { validate, type ValidationStandard } from './validate-schema.js';

type Progress = (line: string) => void;

/** Held while migrations run, so that two processes that start together run each migration once. */
const MIGRATION_LOCK = 7239100401;
const LOCK_POLL_MS = 200;

/** The state before the first migration. */
const NOTHING = '0';

export interface MigrationOptions {
  readonly progress?: Progress;
  /** Checked between migrations. An aborted run fails, and is rolled back if the request says so. */
  readonly signal?: AbortSignal;
  /** The tables as the code sees them, for the validation. */
  readonly models?: readonly ModelDefinition[];
  /** The contexts of this code: what they declare and the database lacks is made. */
  readonly contexts?: readonly DeclaredContext[];
  /** Instead of a target: how many of the latest migrations to roll back. */
  readonly stepsBack?: number;
  /** Lets a run go below the log even if the log holds events. They are lost. */
  readonly deleteTheLog?: boolean;
  /** Sessions with this name belong to the caller. They do not stop a run that removes tables. */
  readonly ownSessions?: string;
  /** Called before a run that removes tables checks who else uses them: release what holds them. */
  readonly onGoingBack?: () => Promise<void>;
  /**
   * Called before a run that rewrites data which nothing else can restore, if the database holds events. It
   * makes a backup and returns where the backup is, or throws. Without this callback the run continues.
   */
  readonly onRewriting?: (what: string) => Promise<string>;
  /** Called when the tables of these migrations are about to be dropped. */
  readonly onTakingAway?: (names: readonly string[]) => void;
  /** Replaces the migrations of this code, for tests. */
  readonly migrations?: readonly MigrationClass[];
  readonly snapshot?: Snapshot;
}

interface Plan {
  /** Newest first. */
  readonly down: readonly KnownMigration[];
  /** Oldest first. */
  readonly up: readonly KnownMigration[];
}

const ATTEMPTS_BESIDE_JOBS = 6;

/**
 * Migrates the schema to a revision, forwards or back. Any number of processes can call this at the same
 * time: one works, the others wait and then find it done.
 *
 * With `autoRollback` the whole run, validation included, is one transaction. A run that is rolled back
 * leaves nothing behind and loses nothing: rows that a migration changed, or whose table it dropped, are
 * there as before. No `down` could do that. Without `autoRollback` each migration is its own transaction, and
 * those before the one that failed stay.
 *
 * @returns the result, also when a migration failed: then `success` is false
 * @throws WaylogError when the run was not started: `service.unknown`, `migration.unknown-revision`, `schema.newer-than-code`,
 *   `migration.not-confirmed`, `migration.log-not-empty`, what `onRewriting` throws, `migration.schema-in-use`, `migration.not-owner`, `database.foreign-code`
 */
export async function runMigrations(
  url: string,
  request: MigrationRequest,
  options: MigrationOptions = {},
): Promise<MigrationResponse> {
  let backup: Promise<string> | undefined;
  const { onRewriting } = options;
  const once = {
    ...options,
    ...(onRewriting && { onRewriting: (what: string) => (backup ??= onRewriting(what)) }),
  };
  for (let attempt = 1; ; attempt++) {
    const response = await new MigrationRun(url, request, once).run();
    const hasMetAJob = !response.success && /tuple concurrently/.test(response.errorMessage ?? '');
    // A run that was rolled back as a whole can be tried once more: a job of TimescaleDB ends within a
    // moment.
    if (!hasMetAJob || request.autoRollback === false || attempt === ATTEMPTS_BESIDE_JOBS) return response;
    options.progress?.(
      'something else has changed the same at that moment, such as a job of TimescaleDB: once more',
    );
    await sleep(attempt * 500);
  }
}

/**
 * Migrates the database to the newest schema. Returns the names of the migrations that ran. Throws
 * `migration.failed`.
 */
export async function migrate(url: string, options: MigrationOptions = {}): Promise<string[]> {
  return [...orThrow(await runMigrations(url, { serviceName: WAYLOG }, options)).applied];
}

/** Rolls back the last `steps` migrations, newest first. Their tables are dropped with all rows. */
export async function revert(
  url: string,
  steps: number,
  progress: Progress = () => undefined,
): Promise<void> {
  const request = { serviceName: WAYLOG, confirmDataLoss: true };
  orThrow(await runMigrations(url, request, { progress, stepsBack: steps }));
}

function orThrow(response: MigrationResponse): MigrationResponse {
  if (response.success) return response;
  throw conflict('migration.failed', response.errorMessage ?? 'The migration failed.', { response });
}

class MigrationRun {
  readonly #code: readonly KnownMigration[];
  readonly #standard: ValidationStandard;
  readonly #level: ValidationLevel;
  readonly #atomic: boolean;
  readonly #began = performance.now();
  readonly #progress: Progress;
  readonly #phases: Phase[] = [];
  /** What has been done, in order, and whether it is committed. */
  readonly #done: { readonly migration: KnownMigration; readonly way: 'up' | 'down'; committed: boolean }[] =
    [];
  #hasBegun = false;
  #issues: readonly ValidationIssue[] = [];
  #hypertables: readonly string[] = [];
  #backup: string | undefined;

  constructor(
    private readonly url: string,
    private readonly request: MigrationRequest,
    private readonly options: MigrationOptions,
  ) {
    this.#code = known(options.migrations ?? allMigrations);
    this.#standard = standardOf(options.models ?? [], options.migrations, options.snapshot);
    this.#level = request.validationLevel ?? 'basic';
    this.#atomic = request.autoRollback ?? true;
    this.#progress = options.progress ?? (() => undefined);
  }

  async run(): Promise<MigrationResponse> {
    requireService(this.request.serviceName, this.#standard);
    const applicationName = 'waylog migrations';
    const session = { connectionString: this.url, applicationName };
    // It takes a quarter of what every command of the CLI takes to start, and few migrate.
    const { DataSource } = await import('typeorm');
    const source = new DataSource({
      type: 'postgres',
      url: this.url,
      applicationName,
      extra: { onConnect: (client: pg.ClientBase) => prepareSession(client, session) },
    });
    await source.initialize();
    try {
      // One session holds the lock and does the work. Both end together, so the work never continues without
      // the lock.
      const runner = source.createQueryRunner();
      await runner.connect();
      return await this.#with(runner, queryOf(runner));
    } finally {
      await source.destroy();
    }
  }

  async #with(runner: QueryRunner, query: Query): Promise<MigrationResponse> {
    await refuseStranger(query);
    await this.#lock(query);
    await refuseForeignCode(query, 'No migration ran');
    this.#phases.push('lock');
    await ensureRecords(query);
    const applied = await appliedMigrations(query);
    const plan = this.#plan(applied);
    this.#phases.push('inspect');
    if (plan.down.length > 0) await this.#refuseUnsafeLoss(query, plan.down);
    await this.#beforeRewriting(query, plan.up);
    let tables: readonly string[];
    try {
      // The log must be checked in the same transaction that drops it.
      if (this.#atomic) await runner.startTransaction();
      await this.#refuseLosingTheLog(query, runner, plan.down);
      const before = await this.#validate(query, 'pre-validation');
      const hypertables = await hypertableNames(query);
      for (const migration of plan.down) await this.#step(runner, query, migration, 'down');
      for (const migration of plan.up) await this.#step(runner, query, migration, 'up');
      tables = await this.#makeTables(query);
      this.#phases.push('migrate');
      this.#hypertables = (await hypertableNames(query)).filter((name) => !hypertables.includes(name));
      this.#phases.push('hypertables');
      await this.#validate(query, 'post-validation', before);
      if (runner.isTransactionActive) await runner.commitTransaction();
    } catch (error) {
      // PostgreSQL rolls back what is not committed, even if this session is what failed.
      if (runner.isTransactionActive) await runner.rollbackTransaction().catch(() => undefined);
      if (error instanceof WaylogError && error.code === 'migration.log-not-empty') throw error;
      return this.#failed(runner, query, messageOf(error));
    }
    await this.#keepRoles(runner, query);
    return this.#response({ success: true, message: this.#summary(plan, tables) });
  }

  /**
   * Creates or updates the roles that Waylog works as and the role for ad-hoc SQL. This runs after every
   * migration run: the passwords derive from the owner's, and later migrations add tables. Everything else
   * works without these roles, so a failure is only reported.
   */
  async #keepRoles(runner: QueryRunner, query: Query): Promise<void> {
    const [has] = await query<{ reader: boolean; working: boolean; noting: boolean; erasing: boolean }>(
      `select to_regclass('projection.generation') is not null as reader,
              to_regclass('projection.contexts') is not null as noting,
              to_regclass('log.erasing_types') is not null as erasing,
              exists (select from waylog_migrations where name = 'DatabaseRoles1790000011000') as working`,
    );
    const keep = async (what: string, ensure: () => Promise<string | undefined>) => {
      let why: string | undefined;
      try {
        // Roles belong to the server: two databases that are migrated at the same time may update the same
        // row of its catalog.
        why = await retry(
          async () => {
            await runner.startTransaction();
            try {
              const reason = await ensure();
              await runner.commitTransaction();
              return reason;
            } catch (error) {
              await runner.rollbackTransaction().catch(() => undefined);
              throw error;
            }
          },
          { attempts: 5, baseDelayMs: 50, maxDelayMs: 500, retryIf: isCatalogConflict },
        );
      } catch (error) {
        why = messageOf(error);
      }
      if (why !== undefined) this.#progress(`${what}: ${why}`);
    };
    const contexts = await this.#contexts(query);
    if (has?.noting)
      await keep('the contexts of the tables are not noted', () =>
        noteContexts(query, contexts).then(() => undefined),
      );
    if (has?.erasing)
      await keep('what erases a stream is not noted', async () => {
        for (const { vocabulary = {} } of this.options.contexts ?? []) await noteErasures(query, vocabulary);
        return undefined;
      });
    if (has?.reader)
      await keep('ad-hoc SQL is not available', () =>
        ensureReaderRole((sql, values) => query(sql, values), this.url, contexts),
      );
    // After the reader: that step revokes functions from PUBLIC which these roles need, and grants them back
    // only once.
    if (has?.working)
      await keep('the working roles are not as they should be', () =>
        ensureDatabaseRoles(query, this.url, contexts, frameMinutesAggregate),
      );
    // Renaming the database stops them, and nothing else starts them again.
    await keep('the policies of TimescaleDB do not run', () => startScheduler(query));
  }

  /** What the contexts declare: at the newest revision; without the checkpoints, which a way back drops, nothing of it. */
  async #makeTables(query: Query): Promise<string[]> {
    const { contexts = [] } = this.options;
    const applied = new Set((await appliedMigrations(query)).map(({ name }) => name));
    if (this.#code.every(({ name }) => applied.has(name))) return makeTables(query, contexts);
    const [has] = await query<{ checkpoints: boolean }>(
      `select to_regclass('projection.checkpoints') is not null as checkpoints`,
    );
    const byMigrations = new Set(this.#code.map(({ serviceName }) => serviceName));
    if (!has?.checkpoints)
      await dropTables(
        query,
        contexts.filter(({ name }) => !byMigrations.has(name)),
      );
    return [];
  }

  /** The contexts whose tables are there: those of this code, and others that the database has. */
  async #contexts(query: Query): Promise<string[]> {
    const declared = [
      ...this.#code.map(({ serviceName }) => serviceName).filter((name) => name !== WAYLOG),
      ...(this.options.contexts ?? []).map(({ name }) => name),
    ];
    const schemas = await query<{ name: string }>(
      `select nspname as name from pg_namespace where nspname = any ($1)`,
      [declared],
    );
    return [...new Set([...schemas.map(({ name }) => name), ...(await contextsIn(query))])].sort();
  }

  /**
   * Polls: a statement that waits for a lock would block `create index concurrently` of the session that
   * holds it.
   */
  async #lock(query: Query): Promise<void> {
    for (let told = false; ; told = true) {
      const [answer] = await query<{ free: boolean }>(`select pg_try_advisory_lock($1) as free`, [
        MIGRATION_LOCK,
      ]);
      if (answer?.free) return;
      if (!told) this.#progress('another process is migrating this database; waiting for it');
      await sleep(LOCK_POLL_MS, undefined, { signal: this.options.signal });
    }
  }

  #plan(applied: readonly AppliedMigration[]): Plan {
    const unknown = applied.filter(({ name }) => !this.#code.some((each) => each.name === name));
    if (unknown.length > 0) throw newerThanCode(unknown.map(({ name }) => name));
    const has = new Set(applied.map(({ name }) => name));
    const there = this.#code.filter(({ name }) => has.has(name));
    const { stepsBack } = this.options;
    if (stepsBack !== undefined) return { down: there.toReversed().slice(0, stepsBack), up: [] };
    const target = this.#target();
    return {
      down: there.filter(({ revision }) => Number(revision) > target).reverse(),
      up: this.#code.filter(({ name, revision }) => !has.has(name) && Number(revision) <= target),
    };
  }

  #target(): number {
    const { targetRevision } = this.request;
    if (targetRevision === undefined || targetRevision === null) return Infinity;
    if (targetRevision === NOTHING) return 0;
    const found = this.#code.find(({ revision, name }) => [revision, name].includes(targetRevision));
    if (found) return Number(found.revision);
    throw notFound(
      'migration.unknown-revision',
      `There is no migration ${targetRevision}. There are ${this.#code.map(({ revision }) => revision).join(', ')}, and 0 for none.`,
      { targetRevision },
    );
  }

  /** The lock is held, so no other process migrates during the backup. Commands continue. */
  async #beforeRewriting(query: Query, up: readonly KnownMigration[]): Promise<void> {
    const rewriting = up.filter(({ migration }) => migration.rewrites !== undefined);
    if (rewriting.length === 0 || !(await holdsEvents(query))) return;
    const what = rewriting
      .map(({ name, migration }) => `${name} rewrites ${migration.rewrites ?? ''}`)
      .join(', ');
    if (this.request.withoutBackup) this.#progress(`${what}; no backup is taken first, as was asked for`);
    else if (this.options.onRewriting) {
      this.#progress(`${what}: a backup comes first`);
      this.#backup = await this.options.onRewriting(what);
      this.#progress(`backed up to ${this.#backup}`);
    }
  }

  async #refuseUnsafeLoss(query: Query, down: readonly KnownMigration[]): Promise<void> {
    if (this.request.confirmDataLoss !== true) {
      throw conflict(
        'migration.not-confirmed',
        `This takes back ${names(down)}, and the tables they made go with what is in them. Tables that are folded from the ` +
          `log come back from it after the next migration forwards. If that is meant, say so: confirmDataLoss: true in the ` +
          `request, or --yes on the command line.`,
        { takesBack: down.map(({ name }) => name) },
      );
    }
    await this.options.onGoingBack?.();
    await this.#refuseWhileInUse(query);
    this.options.onTakingAway?.(down.map(({ name }) => name));
  }

  /** A server would fail on every read, and its projector would retry without end. */
  async #refuseWhileInUse(query: Query): Promise<void> {
    let sessions: { readonly name: string }[] = [];
    // A server that has just stopped can still be visible for a moment.
    for (let attempt = 0; attempt < 10; attempt++) {
      sessions = await query<{ name: string }>(
        `select distinct application_name as name
           from pg_stat_activity
          where datname = current_database()
            and (application_name like 'waylog server%' or application_name like 'waylog projector%')
            and not ($1 <> '' and starts_with(application_name, $1))
          order by 1`,
        [this.options.ownSessions ?? ''],
      );
      if (sessions.length === 0) return;
      await sleep(LOCK_POLL_MS, undefined, { signal: this.options.signal });
    }
    throw conflict(
      'migration.schema-in-use',
      `Waylog servers work on this database (${sessions.map(({ name }) => name).join(', ')}), and the tables that go are ` +
        `theirs: every read would fail. Stop them first; pg_stat_activity shows where they are.`,
      { sessions: sessions.map(({ name }) => name) },
    );
  }

  /** Other tables can be rebuilt from the log. The log cannot be rebuilt from anything. */
  async #refuseLosingTheLog(
    query: Query,
    runner: QueryRunner,
    down: readonly KnownMigration[],
  ): Promise<void> {
    const table = down.find(({ migration }) => migration.holdsTheLog)?.migration.holdsTheLog;
    if (!table || this.options.deleteTheLog) return;
    // If the run is one transaction, no other session can write to the log from here until it is dropped.
    if (runner.isTransactionActive) await query(`lock table ${table} in access exclusive mode`);
    const [log] = await query<{ filled: boolean }>(`select exists (select from ${table}) as filled`);
    if (!log?.filled) return;
    throw conflict(
      'migration.log-not-empty',
      `This would delete the log: there are events in ${table}, and nothing brings them back. To keep it, go back no ` +
        `further than the migration that makes it; to delete it, run \`waylog migrate\` with --yes-delete-the-log.`,
      { table },
    );
  }

  async #validate(
    query: Query,
    phase: 'pre-validation' | 'post-validation',
    before?: SchemaValidationResult,
  ): Promise<SchemaValidationResult | undefined> {
    if (this.#level === 'none') return undefined;
    const result = await validate(query, this.#level, this.#standard);
    // Missing migrations are the reason for this run. Before the newest revision they are also what the
    // caller asked for.
    this.#issues = result.issues.filter(({ category }) => category !== 'missing-migration');
    const was = new Set(before?.issues.map(keyOf));
    const failing = failingAt(this.#level, this.#issues).filter(
      (each) => this.#level === 'strict' || (phase === 'post-validation' && !was.has(keyOf(each))),
    );
    if (failing.length > 0) {
      throw new Error(
        `The ${phase} found what the level ${this.#level} does not allow: ${failing.map(({ description }) => description).join(' ')}`,
      );
    }
    this.#phases.push(phase);
    return result;
  }

  async #step(
    runner: QueryRunner,
    query: Query,
    migration: KnownMigration,
    way: 'up' | 'down',
  ): Promise<void> {
    this.options.signal?.throwIfAborted();
    this.#hasBegun = true;
    // Some statements cannot run in a transaction. What came before is then committed, and rolled back by its
    // `down`.
    const alone = migration.migration.transaction === false;
    if (alone && runner.isTransactionActive) await this.#commit(runner);
    if (!alone && !runner.isTransactionActive) await runner.startTransaction();
    try {
      await migration.migration[way](runner);
      await (way === 'up' ? recordApplied : recordReverted)(query, migration);
    } catch (error) {
      throw new Error(
        `${way === 'up' ? 'Migration' : 'The way back of migration'} ${migration.name} failed: ${messageOf(error)}.` +
          (/tuple concurrently/.test(messageOf(error))
            ? ' Something else has changed the same at that moment, such as a job of TimescaleDB: run it again.'
            : '') +
          (alone ? ' It runs outside a transaction, so what it had done so far is still there.' : ''),
        { cause: error },
      );
    }
    this.#done.push({ migration, way, committed: alone });
    if (runner.isTransactionActive && !this.#atomic) await this.#commit(runner);
    this.#progress(`${way === 'up' ? 'migrated' : 'took back'} ${migration.name}`);
  }

  async #commit(runner: QueryRunner): Promise<void> {
    await runner.commitTransaction();
    for (const step of this.#done) step.committed = true;
  }

  async #failed(runner: QueryRunner, query: Query, why: string): Promise<MigrationResponse> {
    const committed = this.#done.filter((step) => step.committed);
    this.#done.splice(0, this.#done.length, ...committed);
    if (!this.#atomic) {
      const stays =
        committed.length > 0 ? `What ran before it stays: ${names(committed.map((s) => s.migration))}.` : '';
      return this.#response({ success: false, errorMessage: `${why} ${stays}`.trim() });
    }
    try {
      for (const { migration, way } of committed.toReversed()) {
        const back = way === 'up' ? 'down' : 'up';
        await runner.startTransaction();
        await migration.migration[back](runner);
        await (back === 'up' ? recordApplied : recordReverted)(query, migration);
        await runner.commitTransaction();
        this.#done.pop();
      }
    } catch (error) {
      if (runner.isTransactionActive) await runner.rollbackTransaction().catch(() => undefined);
      return this.#response({
        success: false,
        errorMessage: `${why} Taking it back failed too (${messageOf(error)}): these stay: ${names(this.#done.map((s) => s.migration))}.`,
      });
    }
    this.#hypertables = [];
    return this.#response({
      success: false,
      errorMessage: why,
      rollbackPerformed: this.#hasBegun,
      message: this.#hasBegun
        ? 'Everything that this run had done was taken back; the database is where it was.'
        : 'No migration ran; the database is where it was.',
    });
  }

  #response(of: Pick<MigrationResponse, 'success'> & Partial<MigrationResponse>): MigrationResponse {
    const stayed = (way: 'up' | 'down') =>
      this.#done.filter((step) => step.way === way).map(({ migration }) => migration.name);
    return {
      serviceName: this.request.serviceName,
      phasesCompleted: this.#phases,
      hypertablesCreated: this.#hypertables,
      validationIssues: this.#issues,
      rollbackPerformed: false,
      ...(this.#backup !== undefined && { backup: this.#backup }),
      executionTime: Math.round(performance.now() - this.#began) / 1_000,
      applied: stayed('up'),
      reverted: stayed('down'),
      ...of,
    };
  }

  #summary({ up, down }: Plan, tables: readonly string[]): string {
    const parts = [
      ...(down.length > 0 ? [`took back ${names(down)}`] : []),
      ...(up.length > 0 ? [`ran ${names(up)}`] : []),
      ...(tables.length > 0 ? [`made ${tables.join(', ')}`] : []),
    ];
    return parts.length > 0 ? parts.join(', then ') : 'The schema is where it was asked to be; nothing ran.';
  }
}

/**
 * Includes `tuple concurrently updated`, which has no SQLSTATE of its own, and a role that another run has
 * just created.
 */
const isCatalogConflict = (error: unknown): boolean =>
  isTransient(error) || /tuple concurrently (updated|deleted)|duplicate key value/.test(messageOf(error));

const names = (migrations: readonly KnownMigration[]): string =>
  migrations.map(({ name }) => name).join(', ');

const keyOf = ({ category, location }: ValidationIssue): string => `${category} ${location}`;

/** False without a log, and also if the log is elsewhere: this run rewrites nothing of it. */
async function holdsEvents(query: Query): Promise<boolean> {
  const [log] = await query<{ there: boolean }>(`select to_regclass('log.events') is not null as there`);
  if (!log?.there) return false;
  const [has] = await query<{ events: boolean }>(`select exists (select from log.events) as events`);
  return has?.events ?? false;
}

/**
 * The error for a run that would rewrite data without a backup or a place for one. `instead` says how to
 * allow it.
 */
export const backupFirst = (what: string, instead: string): WaylogError =>
  conflict(
    'migration.backup-first',
    `${what}, and nothing else brings that back if it goes wrong. Nothing has been migrated. ${instead}`,
  );

async function hypertableNames(query: Query): Promise<string[]> {
  const catalog = await readCatalog(query, await userSchemas(query));
  return [...catalog.values()].filter(({ kind }) => kind === 'hypertable').map(({ of }) => of);
}

const queryOf =
  (runner: QueryRunner): Query =>
  async <Row extends object>(text: string, values?: unknown[]) =>
    ((await runner.query(text, values)) ?? []) as Row[];

function standardOf(
  models: readonly ModelDefinition[],
  migrations: readonly MigrationClass[] = allMigrations,
  snapshot: Snapshot = wholeSnapshot,
): ValidationStandard {
  return { migrations: known(migrations), models, snapshot };
}

function requireService(serviceName: string, { migrations, models }: ValidationStandard): void {
  const services = new Set([WAYLOG, ...[...migrations, ...models].map((each) => each.serviceName)]);
  if (services.has(serviceName)) return;
  throw invalidInput(
    [{ field: 'serviceName', message: `must be one of ${[...services].join(', ')}` }],
    'service.unknown',
  );
}

/** Whether the current user owns the log, or there is no log yet. */
const ownsLog = async (query: Query): Promise<{ readonly owns: boolean; readonly name: string }> =>
  (
    await query<{ owns: boolean; name: string }>(
      `select current_user as name,
              not exists (select from pg_namespace
                           where nspname = 'log' and not pg_has_role(current_user, nspowner, 'usage')) as owns`,
    )
  )[0] ?? { owns: false, name: 'nobody' };

async function refuseStranger(query: Query): Promise<void> {
  const { owns, name } = await ownsLog(query);
  if (owns) return;
  throw conflict(
    'migration.not-owner',
    `${name} does not own the log of this database, and only its owner may migrate. Run this with the DATABASE_URL of the ` +
      `owner; a server needs none (docs/how-to/database-roles.md).`,
    { role: name },
  );
}

/** Whether the user of this URL can migrate. A server in production does not need that right. */
export const mayMigrate = (url: string): Promise<boolean> =>
  withClient(url, async (query) => (await ownsLog(query)).owns);

/** The migrations that the code has and those that the database has, in one list. Changes nothing. */
export const migrationStatus = (url: string): Promise<MigrationInfo[]> =>
  withClient(url, async (query) => migrationInfos(known(allMigrations), await appliedMigrations(query)));

/** Compares the live schema with migrations and models. Changes nothing. */
export const validateSchema = (
  query: Query,
  level: ValidationLevel,
  models: readonly ModelDefinition[],
): Promise<SchemaValidationResult> => validate(query, level, standardOf(models));

/** All models of the code: those of the contexts, and Waylog's own tables. */
export const withWaylogModels = (described: readonly ModelDefinition[]): ModelDefinition[] => [
  ...described,
  ...modelsOfWaylog(known(allMigrations), wholeSnapshot, described),
];

export interface SchemaState {
  /** Migrations that the code has and the database lacks. */
  readonly missing: readonly string[];
  /** Migrations that the database has and the code does not know: it belongs to a newer Waylog. */
  readonly unknown: readonly string[];
}

/** Compares the schema of a database with this code. Changes nothing. */
export const schemaState = (url: string): Promise<SchemaState> =>
  withClient(url, async (query) => {
    const code = known(allMigrations).map(({ name }) => name);
    const applied = (await appliedMigrations(query)).map(({ name }) => name);
    return {
      missing: code.filter((name) => !applied.includes(name)),
      unknown: applied.filter((name) => !code.includes(name)),
    };
  });

/** The database belongs to a newer version, which this code must leave alone. */
export const newerThanCode = (unknown: readonly string[]): WaylogError =>
  conflict(
    'schema.newer-than-code',
    `The database has migrations that this version of Waylog does not know (${unknown.join(', ')}): a newer version ` +
      `has been here. Deploy that version, or take its migrations back with it.`,
    { unknown },
  );

async function withClient<T>(url: string, work: (query: Query) => Promise<T>): Promise<T> {
  const client = await openSession({ connectionString: url, applicationName: 'waylog migrations' });
  try {
    return await work(queryOn(client));
  } finally {
    await endClient(client);
  }
}
