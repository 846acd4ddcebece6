export * from './answer.js';
export { allInDocument, describedRoutes, inDocument, Operation, Tag } from './document.js';
export { GivesFile, sendFile, type FileToSend } from './file-answer.js';
export { closeBeforeTheRest, cutFile, SentFile, type FileInRequest } from './file-input.js';
export * from './input.js';
export * from './route.js';
export * from './shapes.js';
