export { type Availability, capabilities, type Capabilities, type Edition } from './capabilities.js';
export {
  type Database,
  databaseDown,
  databaseUsers,
  databaseKill,
  type DatabaseOptions,
  databaseReset,
  type DatabaseStatus,
  databaseStatus,
  databaseUp,
  psqlCommand,
  toolCommand,
} from './local/database.js';
export { withoutPassword } from './local/external.js';
export { DatabaseError, type DatabaseErrorCode } from './local/database-error.js';
export type { Source } from './local/choose.js';
export type { Command } from './local/docker.js';
export { serverTool, type ToolPlaces } from './local/server-tool.js';
export type { StopMode } from './local/private-server.js';
export type { Progress } from './local/progress.js';
export {
  catalogOf,
  objectKey,
  queryOn,
  readCatalog,
  userSchemas,
  type Catalog,
  type CatalogObject,
  type ObjectKind,
  type Query,
} from './schema/catalog.js';
export { compareCatalogs, compareModels, isStated, type ExpectedObject } from './schema/compare.js';
export {
  failingAt,
  issue,
  SchemaValidationResult,
  VALIDATION_LEVELS,
  ValidationIssue,
  type Severity,
  type ValidationLevel,
} from './schema/issues.js';
export {
  discovery,
  ModelDiscoveryResponse,
  ModelInfo,
  ModelRegistrationRequest,
  RegisteredModel,
  tableNameOf,
  type ModelDefinition,
} from './schema/models.js';
export { registeredModels, registerModels, removeModel } from './schema/registry.js';
export { decompressWithoutLimit } from './hypertables/decompression.js';
export {
  type DropReason,
  type Range,
  forgetDropped,
  notePolicyDrops,
  recordDropped,
  retainedSince,
} from './hypertables/dropped-ranges.js';
export { chunksOf } from './hypertables/hypertable-info.js';
export { Hypertables } from './hypertables/hypertables.js';
export { applySettings, hypertableSettings, restorePolicies } from './hypertables/policies.js';
export * from './hypertables/models.js';
export {
  applyRetention,
  type RetentionLog,
  type RetentionRun,
  RetentionSchedule,
} from './hypertables/retention.js';
export { FIRST_JOB, givePolicies, startScheduler, stopAllJobs, stopJobsOf } from './jobs/job-owners.js';
export { jobTroubles, JobTrouble } from './jobs/job-troubles.js';
export { type ArchiveProgress, type ArchiveRunOptions, Archives } from './archive/archives.js';
export { type Manifest } from './archive/chunk-file.js';
export * from './archive/models.js';
export {
  dropReaderRole,
  endReaderSessions,
  ensureReaderRole,
  isEndless,
  READER_APPLICATION,
  READER_MAX_SECONDS,
  readerSearchPath,
  readerAccess,
  readerRights,
  readerRoleName,
  readerSessions,
  type ReaderAccess,
  type ReaderRights,
  type ReaderSession,
} from './reader-role.js';
export {
  ensureDatabaseRoles,
  GIVEN,
  knownRoles,
  makeSchemaSql,
  releaseDatabaseRoles,
  rightsDeviations,
  unruledTables,
  type Deviation,
  type KnownRole,
} from './roles/ensure-roles.js';
export { contextsAmong, contextsIn, noteContexts } from './roles/contexts-in.js';
export {
  projectorSchemas,
  rightsOn,
  schemasOf,
  tableRights,
  type TableRight,
  type TableRights,
  type WorkingRole,
} from './roles/rights.js';
export {
  databaseOf,
  madeAccess,
  roleName,
  roleNames,
  type MadeRole,
  type RoleAccess,
} from './roles/role-names.js';
export {
  foreignCode,
  projectorFunctions,
  projectorViews,
  refuseForeign,
  refuseForeignCode,
} from './roles/foreign-code.js';
export { noOwner, stepDown, type DatabaseAccess } from './roles/database-access.js';
