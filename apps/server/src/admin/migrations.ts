import {
  Controller,
  Get,
  Inject,
  Injectable,
  Logger,
  Post,
  Res,
  type BeforeApplicationShutdown,
} from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type pg from 'pg';
import { DATABASE_ACCESS, type RunningContext, RunningContexts, modelsOf, QUERY_POOL } from '#lib/waylog';
import { messageOf, pause, sqlStateOf } from '#lib/platform';
import { leastPosition, loadCheckpoints } from '#lib/projections';
import { noOwner, type DatabaseAccess } from '#lib/timescale';
import {
  backupFirst,
  MigrationInfo,
  MigrationRequest,
  MigrationResponse,
  migrationStatus,
  runMigrations,
  schemaState,
  withWaylogModels,
} from '../../../../migrations/index.js';
import { Answers, MayAnswer, Needs, Operation, Tag, ValidBody } from '#lib/rest';

import { SchemaGate } from '../operations/schema-gate.js';
import { ServerSessions } from '../operations/server-sessions.js';
import { Backups } from './backups.js';
import { Job, Jobs, type JobControl } from './jobs.js';

const POLL_MS = 200;
const RETRY_MS = 1_000;

/**
 * Migrations under a running server. Its own projector stops before tables are dropped, and its routes are closed from
 * then until the schema is complete again and the tables have been filled from the log. Other servers cannot be told,
 * so while any uses the database, no table is dropped. The log itself is never deleted from here.
 */
@Injectable()
export class ServerMigrations implements BeforeApplicationShutdown {
  readonly #log = new Logger('Migrations');
  readonly #stop = new AbortController();
  #released = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly sessions: ServerSessions,
    private readonly gate: SchemaGate,
    private readonly contexts: RunningContexts,
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
    @Inject(DATABASE_ACCESS) private readonly access: DatabaseAccess,
    private readonly backups: Backups,
  ) {}

  /**
   * Connects as the application role; as the owner only while that role cannot log in, because its migration is rolled
   * back.
   */
  async #ask<T>(question: (url: string) => Promise<T>): Promise<T> {
    const { app, ownerUrl } = this.access;
    try {
      return await question(app.url);
    } catch (error) {
      if (ownerUrl === undefined || !/^(28|42501)/.test(sqlStateOf(error) ?? '')) throw error;
      return question(ownerUrl);
    }
  }

  status(): Promise<MigrationInfo[]> {
    return this.#ask(migrationStatus);
  }

  /**
   * One run after another: each leaves the gate and the projector in the state that its schema requires. Throws
   * `database.no-owner` if this process does not know the owner.
   */
  async run(request: MigrationRequest, control?: JobControl): Promise<MigrationResponse> {
    const { ownerUrl } = this.access;
    if (ownerUrl === undefined) {
      throw noOwner('migrate', 'Run `waylog migrate` where DATABASE_URL is that of the owner.');
    }
    const turn = this.#last.then(() => this.#run(ownerUrl, request, control));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #run(ownerUrl: string, request: MigrationRequest, control?: JobControl): Promise<MigrationResponse> {
    const signal = control ? AbortSignal.any([control.signal, this.#stop.signal]) : this.#stop.signal;
    try {
      return await runMigrations(ownerUrl, request, {
        models: withWaylogModels(modelsOf(this.contexts.declared)),
        contexts: this.contexts.declared,
        ownSessions: this.sessions.name,
        signal,
        onRewriting: async (what) => {
          const file = await this.backups.take(ownerUrl, signal);
          if (file !== undefined) return file;
          throw backupFirst(
            what,
            'Start this server with WAYLOG_BACKUP_DIR, and a backup is taken there first; if you have one, or want none, send "withoutBackup": true.',
          );
        },
        progress: (line) => {
          this.#log.log(line);
          control?.report(line);
        },
        onGoingBack: async () => {
          this.#released = true;
          await Promise.all(this.contexts.all.map(({ projector }) => projector.stop()));
        },
        onTakingAway: (names) => this.gate.shut(lacking(names)),
      });
    } finally {
      await this.#resume();
    }
  }

  /** Resumes the tables, if they all exist. */
  async #resume(): Promise<void> {
    if (!this.#released || this.#stop.signal.aborted) return;
    const { roles } = this.sessions.config;
    let missing: readonly string[];
    try {
      ({ missing } = await this.#ask(schemaState));
    } catch (error) {
      // The answer of the run does not wait for an unavailable database; the tables do.
      this.#log.warn(`Cannot see yet whether the tables are there: ${messageOf(error)}`);
      pause(RETRY_MS, this.#stop.signal)
        .then(() => this.#resume())
        .catch((failure: unknown) =>
          this.#log.error(`The tables stay as they are: ${messageOf(failure)}. Start the server again.`),
        );
      return;
    }
    if (missing.length > 0) {
      this.gate.shut(lacking(missing));
      return;
    }
    this.#released = false;
    if (roles.includes('projector')) for (const { projector } of this.contexts.all) projector.start();
    if (this.gate.reason === undefined) return;
    this.gate.shut(
      'The tables of this server were taken away and made again, and are being filled from the log. Try again in a moment.',
    );
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it never fails: it asks until it is stopped
    this.#openWhenFilled();
  }

  /**
   * A table that is created again among others is rebuilt: its checkpoint is there before its rows, its version is not.
   */
  async #openWhenFilled(): Promise<void> {
    while (!this.#stop.signal.aborted && !this.#released) {
      try {
        const areFilled = await Promise.all(this.contexts.all.map((running) => this.#isFilled(running)));
        if (!areFilled.includes(false)) {
          this.gate.open();
          return;
        }
      } catch (error) {
        this.#log.warn(`Waiting for the tables to be filled: ${messageOf(error)}`);
      }
      await pause(POLL_MS, this.#stop.signal);
    }
  }

  async #isFilled({ context, log }: RunningContext): Promise<boolean> {
    const versions = new Map(context.projections.map(({ name, version }) => [name, version]));
    const checkpoints = await loadCheckpoints(this.pool, {
      projector: context.name,
      names: [...versions.keys()],
    });
    return (
      checkpoints.length === versions.size &&
      checkpoints.every(({ projection, version }) => version === versions.get(projection)) &&
      (await log.backlog(leastPosition(log, checkpoints))).events === 0
    );
  }

  beforeApplicationShutdown(): void {
    this.#stop.abort();
  }
}

const lacking = (names: readonly string[]): string =>
  `Migrations were taken back under this server (${names.join(', ')}), and the tables that it works on with them. ` +
  `Migrate forwards again (POST /v1/admin/migrations), or stop this server.`;

@Tag('admin')
@Controller('v1/admin/migrations')
export class MigrationsController {
  constructor(
    private readonly migrations: ServerMigrations,
    private readonly jobs: Jobs,
  ) {}

  @Get()
  @Needs('operator')
  @Operation({
    summary: 'List migrations',
    description: 'Those of this version and those of the database, in their order.',
  })
  @Answers(200, [MigrationInfo])
  list() {
    return this.migrations.status();
  }

  @Post()
  @Needs('admin')
  @Operation({
    summary: 'Migrate the database',
    description:
      '202 with a job where it runs in the background. A migration that failed is an answer too: `success` says so.',
  })
  @Answers(200, MigrationResponse)
  @MayAnswer(202, Job)
  run(
    @ValidBody(MigrationRequest) request: MigrationRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Job | Promise<MigrationResponse> {
    if (request.runInBackground !== true) return this.migrations.run(request);
    void reply.status(202);
    return this.jobs.start('migrate', async (control) => {
      const response = await this.migrations.run(request, control);
      // A job that was told to stop, and did, has no result.
      if (!response.success && control.isCancelled()) throw new Error(response.errorMessage);
      return response;
    });
  }
}
