import { startDouble } from '../../../../test/support/eventstoredb-double/index.js';
import { testDatabase } from '../../../../test/support/database.js';
import { describeClaims } from '../testing/claims.contract.js';
import { describeEventStore } from '../testing/event-store.contract.js';
import { describeReferences } from '../testing/references.contract.js';
import type { Vocabulary } from '../vocabulary.js';
import { EventStoreDbEventStore } from './eventstoredb-event-store.js';

/** Beyond any log, in the form that positions have here. */
const BEYOND = '999999999999999:999999999999999';

/** A slow machine is no failure of the store. */
const patient = { deadlineMs: 60_000 };

const overDouble = async (vocabulary: Vocabulary) => {
  const { pool, drop } = await testDatabase();
  const double = await startDouble();
  const store = new EventStoreDbEventStore({
    ...patient,
    connectionString: double.connectionString,
    pool,
    vocabulary,
  });
  const dispose = () =>
    store
      .close()
      .then(() => double.stop())
      .then(drop);
  return { store, dispose, beyond: BEYOND };
};
describeEventStore('the EventStoreDB store over its protocol double', overDouble);
describeReferences('the EventStoreDB store over its protocol double', overDouble);
describeClaims('the EventStoreDB store over its protocol double', overDouble);

const server = process.env['ESDB_TEST_URL'];
if (server) {
  const overServer = async (vocabulary: Vocabulary) => {
    const { pool, drop } = await testDatabase();
    const store = new EventStoreDbEventStore({ ...patient, connectionString: server, pool, vocabulary });
    return { store, dispose: () => store.close().then(drop), beyond: BEYOND };
  };
  describeEventStore('the EventStoreDB store over the server of ESDB_TEST_URL', overServer);
  describeReferences('the EventStoreDB store over the server of ESDB_TEST_URL', overServer);
  describeClaims('the EventStoreDB store over the server of ESDB_TEST_URL', overServer);
}
