export { backUp, type Backup, type BackupOptions } from './back-up.js';
export {
  BackedUpLog,
  BackupManifest,
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
export type { FindTool } from './tool.js';
