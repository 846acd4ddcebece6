export { migrations } from './all.js';
export { refuseOtherSchema } from './refuse-other-schema.js';
export { migrate, revert, schemaState, type SchemaState } from './migrate.js';
