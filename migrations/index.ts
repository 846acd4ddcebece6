export { migrations } from './all.js';
export { MigrationInfo, MigrationRequest, MigrationResponse, PHASES, type Phase } from './messages.js';
export {
  backupFirst,
  mayMigrate,
  migrate,
  migrationStatus,
  newerThanCode,
  revert,
  runMigrations,
  schemaState,
  validateSchema,
  withWaylogModels,
  type MigrationOptions,
  type SchemaState,
} from './migrate.js';
export type { DeclaredContext } from './make-tables.js';
export type { Migration, MigrationClass } from './migration.js';
export { snapshot } from './schema-snapshot.js';
export { snapshotOfMigrations, snapshotSource } from './take-snapshot.js';
export { refuseOtherSchema } from './refuse-other-schema.js';
