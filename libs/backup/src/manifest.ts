import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  invalidInput,
  IsTimestamp,
  messageOf,
  Nested,
  notFound,
  Optional,
  validate,
  WaylogError,
} from '#lib/platform';
import { IsArray, IsBoolean, IsIn, IsInt, IsObject, IsString, Matches, Min } from 'class-validator';

/** Counts up when a manifest says things that an older Waylog would misread: 2 is an encrypted dump. */
const FORMATS = [1, 2] as const;

/** Where the log of the database stood at the moment of the backup. */
export class BackedUpLog {
  /** The position of the last event; 0 for an empty log. */
  @Matches(/^\d+$/) readonly position!: string;
  @IsInt() @Min(0) readonly events!: number;
  @IsInt() @Min(0) readonly streams!: number;
  /** Of all events with their positions: two logs with the same hash are the same. */
  @IsString() readonly hash!: string;
  /** True when the tables are folded from a log that is not in the database, nor in the backup. */
  @Optional() @IsBoolean() readonly elsewhere?: boolean;
}

/** How a dump is encrypted. */
export class DumpEncryption {
  /** The format of age, https://age-encryption.org/v1. */
  @IsIn(['age']) readonly format!: 'age';
  /** The public keys: who has the private one of any of them can decrypt it. */
  @IsString({ each: true }) @IsArray() readonly recipients!: readonly string[];
}

/** The file that pg_dump wrote, in its custom format; encrypted where it says so. */
export class DumpFile {
  /** Its name; it lies beside the manifest. */
  @IsString() readonly file!: string;
  /** Of the file as it is on the disk, and so is its hash: both are seen without any key. */
  @IsInt() @Min(0) readonly bytes!: number;
  @Matches(/^[0-9a-f]{64}$/) readonly sha256!: string;
  @Optional() @Nested(() => DumpEncryption) readonly encryption?: DumpEncryption;
}

/**
 * What is known of a backup without restoring it: `NAME.dump.json` beside `NAME.dump`, or `NAME.dump.age.json` beside
 * `NAME.dump.age`. It is never encrypted.
 */
export class BackupManifest {
  @IsInt() @IsIn(FORMATS) readonly format!: number;
  /** When its snapshot was taken: all that was committed before it is in the backup, and nothing later. */
  @IsTimestamp() readonly createdAt!: string;
  /** The version of Waylog that made it. */
  @IsString() readonly waylog!: string;
  /** Such as `17.11`. */
  @IsString() readonly postgresql!: string;
  /** Such as `2.19.3`; the extension is restored in this very version. */
  @IsString() readonly timescaledb!: string;
  @IsIn(['apache', 'timescale']) readonly edition!: 'apache' | 'timescale';
  @IsString() readonly database!: string;
  /** The system identifier of the database server: other servers have databases of the same name. An older Waylog did not say. */
  @Optional() @IsString() readonly server?: string;
  /** True for one of a series, of which old ones are removed when there are newer ones. */
  @Optional() @IsBoolean() readonly scheduled?: boolean;
  /** The migrations that had run, oldest first. */
  @IsString({ each: true }) @IsArray() readonly migrations!: string[];
  /** Roles that have been granted something in it. They belong to the server and are not in the dump. */
  @IsString({ each: true }) @IsArray() readonly roles!: string[];
  /** Roles that jobs of TimescaleDB work as, such as its policies. An older Waylog did not say. */
  @Optional() @IsString({ each: true }) @IsArray() readonly jobOwners?: string[];
  @Nested(() => BackedUpLog) readonly log!: BackedUpLog;
  /** Rows and hash of every table, by `schema.name`. */
  @IsObject() readonly tables!: Record<string, { rows: number; hash: string }>;
  @Nested(() => DumpFile) readonly dump!: DumpFile;
}

/** As old as it can be, so that an older Waylog restores what it can. */
export const manifestFormat = (isEncrypted: boolean): number => (isEncrypted ? 2 : 1);

/** How the name of a dump ends. */
export const dumpEnding = (isEncrypted: boolean): string => (isEncrypted ? '.dump.age' : '.dump');

/** Where the manifest of a dump is. */
export const manifestOf = (dump: string): string => `${dump}.json`;

/**
 * The manifest of a dump.
 *
 * @param dump the path of the dump, or of its manifest
 * @throws WaylogError `backup.not-found`, `backup.unfinished`, `backup.manifest-invalid`
 */
export async function readManifest(dump: string): Promise<{ manifest: BackupManifest; dump: string }> {
  const path = /\.dump(\.age)?\.json$/.test(dump) ? dump.slice(0, -'.json'.length) : dump;
  const text = await readFile(manifestOf(path), 'utf8').catch(async (error: unknown) => {
    const hasDump = await stat(path).then(
      () => true,
      () => false,
    );
    throw hasDump
      ? new WaylogError(
          'backup.unfinished',
          'invalid',
          `${path} has no manifest beside it (${basename(manifestOf(path))}): the backup was cut off, or only half of it ` +
            `was copied. The manifest is written last, so without it nothing says that the dump is whole.`,
          {},
          { cause: error },
        )
      : notFound('backup.not-found', `There is no backup ${path}.`);
  });
  let manifest: unknown;
  try {
    manifest = JSON.parse(text);
    if (typeof manifest !== 'object' || manifest === null) throw invalidInput([]);
    const { format } = manifest as BackupManifest;
    const newest = FORMATS[FORMATS.length - 1];
    if (typeof format === 'number' && format > Number(newest)) {
      throw new Error(`it has format ${format}, and this Waylog knows formats up to ${newest}`);
    }
    validate(BackupManifest, manifest);
  } catch (error) {
    throw new WaylogError(
      'backup.manifest-invalid',
      'invalid',
      `${manifestOf(path)} is no manifest of a backup: ${messageOf(error)}. Take the manifest that was written with ` +
        `the dump, and a Waylog at least as new as the one that wrote it.`,
      {},
      { cause: error },
    );
  }
  return { manifest: manifest as BackupManifest, dump: path };
}

/** A backup in a folder. */
export interface ListedBackup {
  readonly file: string;
  /** undefined when it cannot be used. */
  readonly manifest?: BackupManifest;
  /** Why it cannot be used. */
  readonly problem?: string;
}

/**
 * The backups in a folder, the newest first. What has no manifest, or a dump of another size than the manifest says, is
 * listed with its problem. Contents are not read: that is what verifying does.
 */
export async function listBackups(folder: string): Promise<ListedBackup[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw notFound('backup.no-folder', `The folder ${folder} cannot be read: ${messageOf(error)}.`);
  });
  const dumps = new Set(
    names.filter((name) => /\.dump(\.age)?(\.json)?$/.test(name)).map((name) => name.replace(/\.json$/, '')),
  );
  const backups = await Promise.all([...dumps].map((name) => listed(join(folder, name))));
  const time = ({ manifest }: ListedBackup) => manifest?.createdAt ?? '';
  return backups.sort((a, b) => time(b).localeCompare(time(a)) || a.file.localeCompare(b.file));
}

async function listed(file: string): Promise<ListedBackup> {
  try {
    const { manifest } = await readManifest(file);
    const size = await stat(file).then(
      (found) => found.size,
      () => undefined,
    );
    if (size === manifest.dump.bytes) return { file, manifest };
    const problem =
      size === undefined
        ? 'the dump is missing, only its manifest is here'
        : `the dump has ${size} bytes, its manifest says ${manifest.dump.bytes}`;
    return { file, problem };
  } catch (error) {
    return { file, problem: messageOf(error) };
  }
}
