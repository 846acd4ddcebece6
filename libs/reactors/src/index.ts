export * from './acting.js';
export * from './deadline-sender.js';
export * from './failures.js';
export * from './operate.js';
export * from './states.js';
