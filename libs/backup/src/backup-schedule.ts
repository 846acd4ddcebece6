import { Background, messageOf, openSession, roundsWhileLeading, type Timestamp } from '#lib/platform';
import { backUp, databaseIdentity, type DatabaseIdentity } from './back-up.js';
import { isAhead, prune, scheduledBackups } from './rotation.js';
import type { FindTool } from './tool.js';

export interface BackupScheduleOptions {
  /** Of the owner of the database; undefined where this process does not know it, and then there are none. */
  readonly url: string | undefined;
  readonly folder: string;
  /** A backup is due when the newest is so old. */
  readonly everyMs: number;
  /** How many complete ones stay. */
  readonly keep: number;
  /** Whom they are encrypted for. */
  readonly recipients: readonly string[];
  readonly findTool: FindTool;
  /** The version of Waylog, for the manifests. */
  readonly waylog: string;
  readonly log: { info(message: string): void; warn(message: string): void };
  /** How often it is looked whether one is due. */
  readonly lookMs?: number;
  /** How long after a failure it is tried again. */
  readonly retryMs?: number;
}

/** How scheduled backups stand, as the process sees it that makes them. */
export interface BackupStanding {
  /** Why there is not what was asked for; undefined while all is well. */
  readonly problem?: string;
  /** When the newest complete one was taken. */
  readonly newestAt?: Timestamp;
}

const LOOK_MS = 60_000;
const STANDBY_MS = 30_000;
const RETRY_MS = 3_600_000;

/** Says who makes backups by schedule, and is not taken by anything else. */
const BACKUP_LOCK = 'waylog backups';

/**
 * Takes backups again and again, and removes old ones. Any number of processes may run one: the one that holds the lock
 * works, for as long as its session lives.
 */
export class BackupSchedule {
  readonly #background = new Background((signal) => this.#run(signal));
  readonly #options: BackupScheduleOptions;
  /** Since when this process makes them; undefined while another one does. */
  #leadsSince: number | undefined;
  #newestAt: Timestamp | undefined;
  #failure: string | undefined;
  #damaged: readonly string[] = [];
  #ahead: readonly string[] = [];
  /** Was taken, and old ones have not been removed since. */
  #taken: string | undefined;
  #tryAt = 0;

  constructor(options: BackupScheduleOptions) {
    this.#options = options;
  }

  /** undefined where another process makes them, or none is known to yet. */
  get standing(): BackupStanding | undefined {
    if (this.#options.url === undefined) return { problem: NO_OWNER };
    if (this.#leadsSince === undefined) return undefined;
    const problem = this.#failure ?? this.#damage() ?? this.#late();
    return {
      ...(problem !== undefined && { problem }),
      ...(this.#newestAt !== undefined && { newestAt: this.#newestAt }),
    };
  }

  start(): void {
    const { url, log } = this.#options;
    if (url === undefined) log.warn(NO_OWNER);
    else this.#background.start();
  }

  stop(): Promise<void> {
    return this.#background.stop();
  }

  #damage(): string | undefined {
    if (this.#damaged.length > 0)
      return `These backups are not what was written, and do not count: ${this.#damaged.join(', ')}. See to the disk, and move them away.`;
    if (this.#ahead.length > 0)
      return `These backups say that they were taken in the future, and do not count: ${this.#ahead.join(', ')}. See to the clock of the database, and move them away.`;
    return undefined;
  }

  #late(): string | undefined {
    const { everyMs } = this.#options;
    const since = this.#newestAt === undefined ? (this.#leadsSince ?? Infinity) : Date.parse(this.#newestAt);
    if (Date.now() - since <= 2 * everyMs) return undefined;
    return this.#newestAt === undefined
      ? `There is no complete backup yet, and the first has been under way for ${hours(Date.now() - since)}.`
      : `The newest complete backup is of ${this.#newestAt}, and there should be one every ${hours(everyMs)}. One is under way.`;
  }

  #run(signal: AbortSignal): Promise<void> {
    const { url = '', log, lookMs = LOOK_MS } = this.#options;
    return roundsWhileLeading(
      {
        lock: BACKUP_LOCK,
        connect: () => openSession({ connectionString: url, applicationName: BACKUP_LOCK }),
        round: async (client) => {
          const identity = await databaseIdentity(client);
          if (Date.now() >= this.#tryAt) await this.#look(identity, signal);
        },
        roundIntervalMs: lookMs,
        standbyIntervalMs: STANDBY_MS,
        onLead: () => (this.#leadsSince ??= Date.now()),
        onStandby: () => (this.#leadsSince = undefined),
        onInterrupted: (error) => log.warn(`Scheduled backups were interrupted: ${messageOf(error)}`),
      },
      signal,
    );
  }

  /** Takes one if it is due. What goes wrong is known from `standing`, and tried again later. */
  async #look(identity: DatabaseIdentity, signal: AbortSignal): Promise<void> {
    const { url = '', everyMs, folder, keep, recipients, findTool, waylog, log } = this.#options;
    try {
      const there = await scheduledBackups(folder, identity);
      this.#ahead = there.filter(isAhead).map(({ file }) => file);
      const newest = there.find((backup) => !isAhead(backup));
      this.#damaged = this.#damaged.filter((damaged) => there.some(({ file }) => file === damaged));
      this.#newestAt = newest?.manifest.createdAt;
      // Its time may lie in the future, by less than an hour.
      const isDue =
        newest === undefined || Math.abs(Date.now() - Date.parse(newest.manifest.createdAt)) >= everyMs;
      if (isDue) {
        const to = `${folder.replace(/\/+$/, '')}/`;
        const { file, manifest } = await backUp({
          url,
          to,
          recipients,
          scheduled: true,
          findTool,
          waylog,
          signal,
        });
        this.#newestAt = manifest.createdAt;
        this.#taken = file;
        log.info(`Backed up to ${file}: ${(manifest.dump.bytes / 1e6).toFixed(1)} MB`);
      }
      if (this.#taken !== undefined) {
        const { removed, damaged, ahead } = await prune({
          folder,
          keep,
          of: identity,
          taken: this.#taken,
          signal,
        });
        if (removed.length > 0) log.info(`Removed ${removed.join(', ')}: ${keep} newer ones are whole`);
        this.#damaged = damaged;
        this.#ahead = ahead;
        const damage = this.#damage();
        if (damage !== undefined) log.warn(damage);
        this.#taken = undefined;
      }
      this.#failure = undefined;
    } catch (error) {
      // Being stopped is no failure.
      if (signal.aborted) return;
      this.#failure = `The last scheduled backup failed: ${messageOf(error)}`;
      this.#tryAt = Date.now() + (this.#options.retryMs ?? Math.min(everyMs / 4, RETRY_MS));
      log.warn(this.#failure);
    }
  }
}

const NO_OWNER =
  'WAYLOG_BACKUP_INTERVAL asks this server for backups, and it makes none: that takes the owner of the database, whom it does ' +
  'not know, and should not. Run `waylog backup --scheduled` where DATABASE_URL is that of the owner, such as in a nightly ' +
  'job, and leave WAYLOG_BACKUP_INTERVAL out here.';

const hours = (ms: number): string => `${Math.round(ms / 360_000) / 10} h`;
