export {
  backUp,
  type Backup,
  type BackupOptions,
  databaseIdentity,
  type DatabaseIdentity,
} from './back-up.js';
export { BackupSchedule, type BackupScheduleOptions, type BackupStanding } from './backup-schedule.js';
export { readIdentities, recipientsOf } from './encryption.js';
export {
  BackedUpLog,
  BackupManifest,
  DumpEncryption,
  DumpFile,
  listBackups,
  type ListedBackup,
  readManifest,
} from './manifest.js';
export {
  type Difference,
  restore,
  type RestoreOptions,
  type RestoreResult,
  verifyBackup,
  type VerifyOptions,
} from './restore.js';
export { isAhead, prune, type Pruned, type PruneOptions, scheduledBackups } from './rotation.js';
export type { FindTool } from './tool.js';
