export * from './collect-garbage.js';
export { DiskFileStore, isFolder } from './disk-file-store.js';
export * from './file-store.js';
export { Files, MAX_FILE_BYTES } from './files.js';
export { InMemoryFileStore } from './in-memory-file-store.js';
export { IMAGE_TYPES, typeOfFile, UNKNOWN_TYPE } from './types-of-files.js';
export * from './verify-files.js';
