export * from './api-keys.js';
export * from './key-text.js';
export * from './roles.js';
