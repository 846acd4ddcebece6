import { describeEventStore } from '../testing/event-store.contract.js';
import { InMemoryEventStore } from './in-memory-event-store.js';

describeEventStore('the in-memory store', (vocabulary) =>
  Promise.resolve({ store: new InMemoryEventStore({ vocabulary }), dispose: () => Promise.resolve() }),
);
