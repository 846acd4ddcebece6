export * from './answer.js';
export { allInDocument, describedRoutes, inDocument, Operation, Tag } from './document.js';
export * from './input.js';
export * from './route.js';
export * from './shapes.js';
