import { lstat, readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { measure } from './files.js';
import type { DatabaseIdentity } from './back-up.js';
import { listBackups, manifestOf, type BackupManifest, type ListedBackup } from './manifest.js';

/** A backup that can be used, as far as is seen without reading its dump. */
export interface CompleteBackup {
  readonly file: string;
  readonly manifest: BackupManifest;
}

export interface PruneOptions {
  readonly folder: string;
  /** How many complete ones of each database stay, at least one. */
  readonly keep: number;
  /** Only those of this database. Without it, of each database as many stay. */
  readonly of?: DatabaseIdentity;
  /** One that was taken just now: it stays, whatever its time. */
  readonly taken?: string;
  /** Say what would go, and remove nothing. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
}

export interface Pruned {
  /** What stays and was counted: all of it has been read, where something older was to go. */
  readonly kept: readonly string[];
  readonly removed: readonly string[];
  /** Not counted, and left where they are: their dump is not the one that was written. */
  readonly damaged: readonly string[];
  /** Not counted, and left where they are: they were taken in the future, as when a clock was wrong, and would stay the newest for long. */
  readonly ahead: readonly string[];
}

/** The complete backups of a series, the newest first. Throws `backup.no-folder`. */
export async function scheduledBackups(folder: string, of?: DatabaseIdentity): Promise<CompleteBackup[]> {
  return (await listBackups(folder)).filter(
    (backup): backup is CompleteBackup =>
      isOfSeries(backup) && (of === undefined || isOf(backup.manifest, of)),
  );
}

/** The clocks of a database and of this machine differ. */
const AHEAD_MS = 3_600_000;

/** Whether a backup says that it was taken in the future. Such a time says nothing of which is the newest. */
export const isAhead = ({ manifest }: CompleteBackup): boolean =>
  Date.parse(manifest.createdAt) > Date.now() + AHEAD_MS;

/** One that carries the name of another is a copy that somebody has made, and theirs. */
const isOfSeries = (backup: ListedBackup): backup is CompleteBackup =>
  backup.manifest?.scheduled === true && backup.manifest.dump.file === basename(backup.file);

const isOf = (manifest: DatabaseIdentity, { database, server }: DatabaseIdentity): boolean =>
  manifest.database === database && manifest.server === server;

/**
 * Removes the oldest backups of a series, so that so many complete ones stay. What stays is read to its end before anything
 * goes: a backup whose dump is not the one that was written does not count, and where too few are whole, nothing is removed.
 * Backups that are of no series, that are broken, and whatever else is in the folder stay.
 *
 * Also removes what a killed one of the same database has left (`.partial`) and nobody has written to for a day.
 */
export async function prune(options: PruneOptions): Promise<Pruned> {
  const { folder, keep, of, taken, dryRun = false, signal } = options;
  if (!Number.isInteger(keep) || keep < 1) throw new Error('At least one backup stays.');
  const kept: string[] = [];
  const damaged: string[] = [];
  const old: string[] = [];
  const ahead: string[] = [];
  const series = new Map<string, CompleteBackup[]>();
  for (const backup of await scheduledBackups(folder, of)) {
    if (isAhead(backup)) {
      ahead.push(backup.file);
      continue;
    }
    const { database, server = '' } = backup.manifest;
    const key = `${server}/${database}`;
    series.set(key, [...(series.get(key) ?? []), backup]);
  }
  for (const backups of series.values()) {
    const whole: string[] = [];
    // Where nothing is to go, nothing need be read.
    const mustRead = backups.length > keep;
    for (const { file, manifest } of backups) {
      if (whole.length >= keep) {
        if (file !== taken) old.push(file);
      } else if (!mustRead || (await isWhole(file, manifest, signal))) whole.push(file);
      else damaged.push(file);
    }
    kept.push(...whole);
  }
  const databases = new Set(
    of ? [of.database] : [...series.values()].map(([first]) => first?.manifest.database ?? ''),
  );
  const left = (await Promise.all([...databases].map((name) => leftovers(folder, name)))).flat();
  // The dump first: what a kill leaves then is small, and listed as unusable.
  for (const file of dryRun ? [] : old)
    for (const path of [file, manifestOf(file)]) await rm(path, { force: true });
  for (const path of dryRun ? [] : left) await rm(path, { force: true });
  return { kept, removed: [...old, ...left], damaged, ahead };
}

async function isWhole(file: string, { dump }: BackupManifest, signal?: AbortSignal): Promise<boolean> {
  // What a link leads to is not known to be Waylog's.
  if (!(await lstat(file)).isFile()) return false;
  const { bytes, sha256 } = await measure(file, signal);
  return bytes === dump.bytes && sha256 === dump.sha256;
}

const ABANDONED_MS = 86_400_000;

async function leftovers(folder: string, database: string): Promise<string[]> {
  const name = database.replaceAll(/[^\w-]/g, '_');
  const made = /^-\d{8}T\d{6}-\d{3}Z\.dump(\.age)?(\.json)?\.partial$/;
  const found: string[] = [];
  for (const entry of await readdir(folder)) {
    if (!entry.startsWith(name) || !made.test(entry.slice(name.length))) continue;
    const path = join(folder, entry);
    const status = await stat(path).catch(() => undefined);
    // No backup leaves a folder.
    if (status?.isFile() && Date.now() - status.mtimeMs > ABANDONED_MS) found.push(path);
  }
  return found;
}
