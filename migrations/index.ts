export { migrations } from './all.js';
export { migrate, revert, schemaState, type SchemaState } from './migrate.js';
