import { testDatabase } from '../../../../test/support/database.js';
import { describeClaims } from '../testing/claims.contract.js';
import { describeEventStore } from '../testing/event-store.contract.js';
import { describeReferences } from '../testing/references.contract.js';
import type { Vocabulary } from '../vocabulary.js';
import { PostgresEventStore } from './postgres-event-store.js';

const open = async (vocabulary: Vocabulary) => {
  const { pool, listener, drop } = await testDatabase();
  const store = new PostgresEventStore({ pool, listener, vocabulary });
  return { store, dispose: () => store.close().then(drop) };
};

describeEventStore('the PostgreSQL store', open);
describeReferences('the PostgreSQL store', open);
describeClaims('the PostgreSQL store', open);
