import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createPool, Listener, messageOf } from '#lib/platform';
import { collectGarbage, DiskFileStore, Files } from '#lib/files';
import { DataKeys, DecisionStreams, openEventStore } from '#lib/event-store';
import { ReferencesInLog } from '#lib/waylog';
import { album, albums } from '../../libs/files/src/testing/albums.js';

// A process that stores pictures and erases albums, or one that removes what no event needs, until it is killed; it says what
// it was answered: node dist/test/support/storing-process.js store|collect DATABASE_URL EVENT_STORE FOLDER GRACE_MS

const [what, connectionString = '', eventStore, folder = '', grace] = process.argv.slice(2);
const pool = createPool({
  connectionString,
  size: 5,
  applicationName: 'waylog test files',
  statementTimeoutMs: 30_000,
  connectTimeoutMs: 5_000,
});
const store = await openEventStore({
  eventStore: eventStore || undefined,
  pool,
  listener: new Listener(connectionString, 'waylog test files'),
  vocabulary: albums,
  keys: new DataKeys(pool),
});
const place = new DiskFileStore(folder);

/** So few that some are stored, given up and stored again; and so many that what is lost is not soon stored again. */
const PICTURES = 300;

async function* picture(n: number): AsyncGenerator<Uint8Array> {
  const piece = Buffer.alloc(20_000 + n, 1);
  for (let i = 0; i <= (n % 10) * 2; i++) {
    yield piece;
    // So that it is killed in the middle, too.
    await sleep(1);
  }
}

const refused = (error: unknown) =>
  console.log(`refused ${(error as { code?: string }).code ?? messageOf(error)}`);

async function keepStoring(): Promise<never> {
  const files = new Files(place);
  const streams = new DecisionStreams({ store, decider: album, category: 'album' });
  for (;;) {
    const id = randomUUID();
    for (let n = 0; n < 4; n++)
      try {
        const file = await files.keep(picture(Math.floor(Math.random() * PICTURES)), {}, async (kept) => {
          const data = { sha256: kept.sha256 };
          await streams.change(id, () => ({ events: [{ type: 'Stored', data }] }), { command: 'Store' });
          return kept;
        });
        console.log(`stored album-${id} ${file.sha256}`);
      } catch (error) {
        refused(error);
      }
    if (Math.random() < 0.5) {
      console.log(`erasing album-${id}`);
      const erased = { type: 'Erased' as const, data: { sha256: '' } };
      // Whether it was erased is then not known.
      await streams.change(id, () => ({ events: [erased] }), { command: 'Erase' }).catch(refused);
    }
  }
}

async function keepCollecting(): Promise<never> {
  for (;;) {
    const references = new ReferencesInLog(store, albums);
    // Without any grace no time protects a file, however new it is.
    const now = Date.now() + (grace === '0' ? 86_400_000 : 0);
    try {
      const { removed } = await collectGarbage(place, references, { graceMs: Number(grace), now });
      console.log(`removed ${removed.length}`);
    } catch (error) {
      refused(error);
    }
    await sleep(5);
  }
}

console.log('ready');
await (what === 'collect' ? keepCollecting() : Promise.all([keepStoring(), keepStoring()]));
