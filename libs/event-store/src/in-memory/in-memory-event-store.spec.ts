import { describeClaims } from '../testing/claims.contract.js';
import { describeEventStore } from '../testing/event-store.contract.js';
import { describeReferences } from '../testing/references.contract.js';
import type { Vocabulary } from '../vocabulary.js';
import { InMemoryEventStore } from './in-memory-event-store.js';

const open = (vocabulary: Vocabulary) =>
  Promise.resolve({ store: new InMemoryEventStore({ vocabulary }), dispose: () => Promise.resolve() });

describeEventStore('the in-memory store', open);
describeReferences('the in-memory store', open);
describeClaims('the in-memory store', open);
