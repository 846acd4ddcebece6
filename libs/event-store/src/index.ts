export * from './decisions/decider.js';
export * from './decisions/decision-streams.js';
export * from './decisions/layered-map.js';
export * from './event-store.js';
export * from './in-memory/in-memory-event-store.js';
export * from './postgres/postgres-event-store.js';
export * from './transfer/index.js';
export * from './upcasting.js';
