export * from './addresses.js';
export * from './delivery.js';
export * from './message.js';
export * from './registry.js';
export * from './signing.js';
