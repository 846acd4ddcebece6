import { testDatabase } from '../../../../test/support/database.js';
import { describeEventStore } from '../testing/event-store.contract.js';
import { PostgresEventStore } from './postgres-event-store.js';

describeEventStore('the PostgreSQL store', async (vocabulary) => {
  const { pool, listener, drop } = await testDatabase();
  const store = new PostgresEventStore({ pool, listener, vocabulary });
  return { store, dispose: () => store.close().then(drop) };
});
