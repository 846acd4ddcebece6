export * from './errors.js';
export * from './listener.js';
export * from './pg-array.js';
export * from './postgres.js';
export * from './retry.js';
export * from './timestamp.js';
export * from './waker.js';
export * from './validation.js';
