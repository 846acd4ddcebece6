export * from './answer.js';
export * from './input.js';
export * from './route.js';
export * from './shapes.js';
