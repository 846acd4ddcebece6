import { InMemoryFileStore } from './in-memory-file-store.js';
import { fileStoreContract } from './testing/file-store.contract.js';

describe('files in memory', () => {
  fileStoreContract(() => Promise.resolve(new InMemoryFileStore()));
});
