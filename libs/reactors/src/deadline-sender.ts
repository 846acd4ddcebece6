import type pg from 'pg';
import { isAborted, pause, timestampFromPostgres, type Timestamp } from '#lib/platform';
import type { ProjectorLog, ProjectorStatus } from '#lib/projections';
import { DEFAULT_ATTEMPTS, failureText, isOutage, waitSeconds } from './failures.js';
import { Led } from './led.js';

/** A deadline that has come. */
export interface Due {
  /** The id of the thing that has it. */
  readonly id: string;
  /** Which of its deadlines of this kind; empty if it has one. */
  readonly key: string;
  readonly dueAt: Timestamp;
  /** The revision of the event that set it. */
  readonly setBy: number;
  readonly details: unknown;
}

export interface DeadlineSenderOptions {
  readonly name: string;
  readonly version: number;
  /** The table of the deadlines that are set, as SQL calls it; see `deadlineColumns`. */
  readonly table: string;
  /**
   * Sends the command of a deadline. It can be called again for the same one. Throws an outage (`isOutage`) if nothing
   * can be sent now; any other error concerns this one.
   */
  readonly send: (due: Due) => Promise<void>;
  readonly attempts?: number | undefined;
  readonly pool: pg.Pool;
  readonly connectionString: string;
  readonly log: ProjectorLog;
  readonly standbyIntervalMs?: number;
}

/** How late a deadline can be noticed that is set for a time before the next look, and that a clock was put right. */
const LOOK_MS = 500;
const CLEAN_UP_MS = 3_600_000;
const FORGET_MS = 5_000;
const AT_ONCE = 32;
const CONCURRENCY = 8;

/**
 * Sends the commands of deadlines when their time has come, in one process at a time. The clock of the database says
 * when that is. What was sent is recorded afterwards: a kill in between sends a command again, with the same id.
 */
export class DeadlineSender {
  readonly #options: DeadlineSenderOptions & { readonly attempts: number };
  readonly #led: Led;
  #isPaused = false;
  #cleanedAt = -Infinity;
  #forgotAt = -Infinity;

  constructor(options: DeadlineSenderOptions) {
    this.#options = { ...options, attempts: options.attempts ?? DEFAULT_ATTEMPTS };
    this.#led = new Led({ kind: 'deadline', ...options }, (client, signal) => this.#round(client, signal));
  }

  get status(): ProjectorStatus {
    return this.#led.status;
  }

  start(): void {
    this.#led.start();
  }

  /** Finishes the commands under way, and gives up the lead. */
  stop(): Promise<void> {
    return this.#led.stop();
  }

  async #round(client: pg.Client, signal: AbortSignal): Promise<void> {
    const { name, log } = this.#options;
    const wasPaused = this.#isPaused;
    this.#isPaused = await this.#recordedPause(client);
    if (this.#isPaused) {
      if (!wasPaused) log.info(`Deadline ${name} is paused`);
      this.#led.state = 'paused';
      await pause(LOOK_MS, signal);
      return;
    }
    this.#led.state = 'active';
    if (performance.now() - this.#cleanedAt > CLEAN_UP_MS) {
      await this.#forgetEnded(client);
      this.#cleanedAt = performance.now();
    }
    if (performance.now() - this.#forgotAt > FORGET_MS) {
      await this.#forgetFailed(client);
      this.#forgotAt = performance.now();
    }
    const due = await this.#due(client);
    await this.#sendAll(client, due, signal);
    this.#led.trouble.succeeded();
    if (due.length < AT_ONCE) await pause(Math.min(LOOK_MS, await this.#untilNext(client)), signal);
  }

  /** Records that there is such a deadline, and says whether somebody has paused it. */
  async #recordedPause(client: pg.Client): Promise<boolean> {
    const { name, version } = this.#options;
    const { rows } = await client.query<{ is_paused: boolean }>({
      name: 'deadline.paused',
      text: `
        with recorded as (
          insert into projection.reactors (name, version)
          select $1, $2 where not exists (select from projection.reactors where name = $1 and version >= $2)
          on conflict (name) do update set version = greatest(reactors.version, excluded.version)
        )
        select paused_at is not null as is_paused from projection.reactors where name = $1`,
      values: [name, version],
    });
    return rows[0]?.is_paused ?? false;
  }

  async #due(client: pg.Client): Promise<Due[]> {
    const { name, table } = this.#options;
    const { rows } = await client.query<{
      id: string;
      key: string;
      due_at: string;
      set_by: number;
      details: unknown;
    }>(
      `select d.id, d.key, d.due_at::text, d.set_by, d.details
         from ${table} d
         left join projection.sent_deadlines s
           on s.deadline = $1 and s.id = d.id and s.key = d.key and s.revision = d.set_by
        where d.due_at <= clock_timestamp() and (s.id is null or s.next_attempt_at <= clock_timestamp())
        order by d.due_at limit ${AT_ONCE}`,
      [name],
    );
    return rows.map(({ id, key, due_at, set_by, details }) => ({
      id,
      key,
      dueAt: timestampFromPostgres(due_at),
      setBy: set_by,
      details,
    }));
  }

  /** The time until the next one, in milliseconds, by the clock of the database. */
  async #untilNext(client: pg.Client): Promise<number> {
    const { table } = this.#options;
    const { rows } = await client.query<{ ms: number | null }>(
      `select (extract(epoch from min(due_at) - clock_timestamp()) * 1000)::double precision as ms
         from ${table} where due_at > clock_timestamp()`,
    );
    return Math.max(1, rows[0]?.ms ?? Infinity);
  }

  async #sendAll(client: pg.Client, due: readonly Due[], signal: AbortSignal): Promise<void> {
    const { send, attempts, name, log } = this.#options;
    const rest = [...due];
    const ends: { readonly due: Due; readonly error: string | null }[] = [];
    let outage: { readonly error: unknown } | undefined;
    const worker = async () => {
      for (let one = rest.shift(); one && !outage && !isAborted(signal); one = rest.shift()) {
        try {
          await send(one);
          this.#led.acted++;
          ends.push({ due: one, error: null });
        } catch (error) {
          if (isOutage(error)) outage = { error };
          else ends.push({ due: one, error: failureText(error) });
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, due.length) }, worker));
    for (const { id, failures, error } of await this.#record(client, ends))
      if (failures === 1 || failures === attempts)
        log.warn(
          `The command of deadline ${name} of ${id} failed: ${error}. ` +
            (failures < attempts
              ? 'It is tried again; others go on.'
              : `It is parked; others go on. See \`waylog reactors waiting ${name}\`.`),
        );
    if (outage) throw outage.error;
  }

  /** Returns those that failed, with how often. */
  async #record(client: pg.Client, ends: readonly { readonly due: Due; readonly error: string | null }[]) {
    if (ends.length === 0) return [];
    const { name, attempts } = this.#options;
    const waits = Array.from({ length: attempts }, (_, i) => waitSeconds(i + 1, { attempts }) ?? null);
    const { rows } = await client.query<{ id: string; failures: number; error: string }>({
      name: 'deadline.sent',
      text: recordSql,
      values: [
        name,
        ends.map(({ due }) => due.id),
        ends.map(({ due }) => due.key),
        ends.map(({ due }) => due.setBy),
        ends.map(({ due }) => due.dueAt),
        ends.map(({ error }) => error),
        waits,
      ],
    });
    return rows;
  }

  /** What failed, or was discarded, of deadlines that were put off or moved since: it waits for nothing any more. */
  async #forgetFailed(client: pg.Client): Promise<void> {
    const { name, table } = this.#options;
    await client.query(
      `delete from projection.sent_deadlines s where s.deadline = $1 and s.error is not null and ${notSet(table)}`,
      [name],
    );
  }

  /** What was sent of deadlines that are no longer set. */
  async #forgetEnded(client: pg.Client): Promise<void> {
    const { name, table } = this.#options;
    await client.query(
      `delete from projection.sent_deadlines s
        where s.deadline = $1 and s.next_attempt_at is null and s.error is null
          and ${notSet(table)}`,
      [name],
    );
  }
}

const notSet = (table: string) =>
  `not exists (select from ${table} d where d.id = s.id and d.key = s.key and d.set_by = s.revision)`;

const recordSql = `
  with ended as (
    select e.*, case when s.revision = e.revision then s.attempts else 0 end + 1 as attempts
      from unnest($2::text[], $3::text[], $4::integer[], $5::timestamptz[], $6::text[]) as e (id, key, revision, due_at, error)
      left join projection.sent_deadlines s on s.deadline = $1 and s.id = e.id and s.key = e.key
  ), recorded as (
    insert into projection.sent_deadlines (deadline, id, key, revision, due_at, error, attempts, next_attempt_at)
    select $1, id, key, revision, due_at, error, attempts,
           case when error is not null
                then clock_timestamp() + ($7::double precision[])[attempts] * interval '1 second' end
      from ended
    on conflict (deadline, id, key) do update
       set revision = excluded.revision, due_at = excluded.due_at, error = excluded.error, attempts = excluded.attempts,
           last_attempt_at = excluded.last_attempt_at, next_attempt_at = excluded.next_attempt_at,
           discarded_by = null, discard_reason = null
     -- What was discarded while it was tried stays so.
     where sent_deadlines.discarded_by is null or sent_deadlines.revision <> excluded.revision
  )
  select id, attempts as failures, error from ended where error is not null`;
