import { Controller, Get, Post } from '@nestjs/common';
import { IsString } from 'class-validator';
import {
  backUp,
  BackupManifest,
  BackupSchedule,
  listBackups,
  recipientsOf,
  type BackupScheduleOptions,
  type FindTool,
  type ListedBackup,
} from '#lib/backup';
import { conflict, installation, Nested, Optional, type Config } from '#lib/platform';
import { noOwner, serverTool } from '#lib/timescale';
import { Answers, Needs, Operation, Tag } from '#lib/rest';
import { Job, type Jobs } from './jobs.js';

/** A backup in the server's folder. */
export class BackupInfo implements ListedBackup {
  /** The path of the dump, on the server's machine. */
  @IsString() readonly file!: string;
  /** Absent if the backup cannot be used. */
  @Optional() @Nested(() => BackupManifest) readonly manifest?: BackupManifest;
  /** Why it cannot be used. */
  @Optional() @IsString() readonly problem?: string;
}

const findTool: FindTool = (url, tool, args) =>
  serverTool(url, tool, args, { root: installation().root, env: process.env });

/** Scheduled backups; undefined if there are none. */
export function backupSchedule(
  { backupDir, backupIntervalHours, backupKeep, backupRecipients }: Config,
  ownerUrl: string | undefined,
  log: BackupScheduleOptions['log'],
): BackupSchedule | undefined {
  if (backupIntervalHours === 0 || backupDir === undefined) return undefined;
  return new BackupSchedule({
    url: ownerUrl,
    folder: backupDir,
    everyMs: backupIntervalHours * 3_600_000,
    keep: backupKeep,
    recipients: recipientsOf(backupRecipients),
    findTool,
    waylog: installation().version,
    log,
  });
}

/** Backups into the folder WAYLOG_BACKUP_DIR, one at a time. */
export class Backups {
  #running: string | undefined;

  constructor(
    private readonly jobs: Jobs,
    /** A login that can read everything; undefined if the process does not know the owner. */
    private readonly ownerUrl: string | undefined,
    private readonly backupDir: string | undefined,
    /** The recipients of the encryption. */
    private readonly recipients: readonly string[],
  ) {}

  /** Throws `backup.no-folder-configured`, `database.no-owner`, and `backup.running` while another one runs. */
  start(): Job {
    const to = this.#folder();
    const url = this.ownerUrl;
    if (url === undefined) {
      throw noOwner(
        'back up the database',
        'Run `waylog backup` where DATABASE_URL is that of the owner, such as in a nightly job.',
      );
    }
    if (this.#running !== undefined) {
      throw conflict(
        'backup.running',
        `Job ${this.#running} is making a backup now. Wait for it, or cancel it.`,
        { jobId: this.#running },
      );
    }
    const { version } = installation();
    const job = this.jobs.start('backup', async (control) => {
      try {
        const { file, manifest } = await backUp({
          url,
          to,
          recipients: this.recipients,
          waylog: version,
          findTool,
          signal: control.signal,
          // The dump is compressed and the total is not: more is not known before the end.
          onProgress: (step, bytes, total) => control.report(step, Math.min(bytes / total, 1)),
        });
        return { file, manifest };
      } finally {
        this.#running = undefined;
      }
    });
    this.#running = job.jobId;
    return job;
  }

  /** A backup that the caller waits for before a risky operation; undefined if there is no folder for it. */
  async take(url: string, signal: AbortSignal): Promise<string | undefined> {
    if (this.backupDir === undefined) return undefined;
    const { recipients } = this;
    const waylog = installation().version;
    return (await backUp({ url, to: this.#folder(), recipients, waylog, findTool, signal })).file;
  }

  /** The newest first. Throws `backup.no-folder-configured`, and `backup.no-folder` if it cannot be read. */
  list(): Promise<BackupInfo[]> {
    return listBackups(this.#folder());
  }

  #folder(): string {
    const { backupDir } = this;
    // With a slash a missing folder is not taken for the name of a file.
    if (backupDir !== undefined) return `${backupDir.replace(/\/+$/, '')}/`;
    throw conflict(
      'backup.no-folder-configured',
      'This server has no folder for backups: WAYLOG_BACKUP_DIR is not set. Set it to a folder that the server may write ' +
        'to and start it again, or run `waylog backup --to FOLDER` where you are.',
    );
  }
}

@Tag('admin')
@Controller('v1/admin/backups')
export class BackupsController {
  constructor(private readonly backups: Backups) {}

  @Post()
  @Needs('admin')
  @Operation({ summary: 'Start a backup', description: 'A job; its result is the backup.' })
  @Answers(202, Job)
  start() {
    return this.backups.start();
  }

  @Get()
  @Needs('operator')
  @Operation({ summary: 'List backups' })
  @Answers(200, [BackupInfo])
  list() {
    return this.backups.list();
  }
}
