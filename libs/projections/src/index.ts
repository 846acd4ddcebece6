export * from './checkpoints.js';
export * from './projection.js';
export * from './projector.js';
export * from './rebuild.js';
export * from './row-changes.js';
export * from './table-hash.js';
export * from './table-reads.js';
export * from './time-travel.js';
