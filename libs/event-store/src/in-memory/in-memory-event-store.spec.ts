import { describeEventStore } from '../testing/event-store.contract.js';
import { InMemoryEventStore } from './in-memory-event-store.js';

describeEventStore('the in-memory store', (upcasters) =>
  Promise.resolve({ store: new InMemoryEventStore({ upcasters }), dispose: () => Promise.resolve() }),
);
