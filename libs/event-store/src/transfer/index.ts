export {
  copyLog,
  type CopyOptions,
  type CopyResult,
  type LogDigest,
  type StreamDifference,
} from './copy-log.js';
export { exportLog, type ExportOptions } from './export-log.js';
export type { LogFileFooter, LogFileHeader } from './format.js';
export {
  checkLogFile,
  importLog,
  type ImportConflict,
  type ImportOptions,
  type ImportResult,
} from './import-log.js';
export { compressLines } from './lines.js';
