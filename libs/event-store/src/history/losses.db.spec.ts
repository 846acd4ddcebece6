import { testDatabase, type TestDatabase } from '../../../../test/support/database.js';
import { losses, recordLoss, type NewLoss } from './losses.js';

describe('a loss that several processes have noticed', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  afterAll(() => database.drop());

  const loss = (streams: NewLoss['streams'], commands: number): NewLoss => ({
    keptPosition: '10',
    seenPosition: '20',
    keptAt: 1_000,
    seenAt: 2_000,
    events: 10,
    commands,
    streams,
  });
  const write = async (of: NewLoss) => {
    const client = await database.pool.connect();
    try {
      await recordLoss(client, of);
    } finally {
      client.release();
    }
  };

  it('names each stream once, with everything that it lost', async () => {
    await write(loss([], 0));
    await write(
      loss(
        [
          { streamId: 'flight-z', from: 4, to: 6 },
          { streamId: 'flight-a', from: 1, to: 1 },
        ],
        2,
      ),
    );
    await write(
      loss(
        [
          { streamId: 'flight-b', from: 0, to: 3 },
          { streamId: 'flight-z', from: 3, to: 5 },
        ],
        3,
      ),
    );
    expect(await losses(database.pool)).toMatchObject([
      {
        commands: 5,
        streams: [
          { streamId: 'flight-z', from: 3, to: 6 },
          { streamId: 'flight-a', from: 1, to: 1 },
          { streamId: 'flight-b', from: 0, to: 3 },
        ],
      },
    ]);
  });
});
