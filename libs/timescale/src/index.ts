export { type Availability, capabilities, type Capabilities, type Edition } from './capabilities.js';
export {
  type Database,
  databaseDown,
  databaseKill,
  type DatabaseOptions,
  databaseReset,
  type DatabaseStatus,
  databaseStatus,
  databaseUp,
  psqlCommand,
  toolCommand,
} from './local/database.js';
export { DatabaseError, type DatabaseErrorCode } from './local/database-error.js';
export type { Source } from './local/choose.js';
export type { Command } from './local/docker.js';
export type { StopMode } from './local/private-server.js';
export type { Progress } from './local/progress.js';
export {
  dropReaderRole,
  ensureReaderRole,
  readerAccess,
  readerRights,
  readerRoleName,
  type ReaderAccess,
  type ReaderRights,
} from './reader-role.js';
