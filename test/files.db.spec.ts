import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DiskFileStore, Files } from '#lib/files';
import { EraseFlight, RemoveImage, StoreImageContent } from '#lib/flight';
import type { EventStore, Vocabulary } from '#lib/event-store';
import { collectFiles, EVENT_STORE, FileSchedule, LOG_POOL, RunningContexts } from '#lib/waylog';
import type pg from 'pg';
import { all, inPieces, picture } from '../libs/files/src/testing/file-store.contract.js';
import { logs } from './support/database.js';
import { eventually } from './support/eventually.js';
import { useWaylog } from './support/waylog.js';

const DAY = 86_400_000;

describe.each(logs)('files that events need, with the log in %s', (log) => {
  const waylog = useWaylog({}, log);
  let folder: string;
  let place: DiskFileStore;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-files-'));
    place = new DiskFileStore(folder);
  });
  afterEach(() => rm(folder, { recursive: true }));

  let flights = 0;
  const newFlight = async () => {
    const id = `of-${log}-${++flights}`;
    await waylog.database.insertFlight({
      id,
      name: id,
      startGps: { lat: 63, lon: 10 },
      altitude: 1,
    });
    return id;
  };
  const store = (flightId: string, frameId = 1, bytes = picture()) =>
    new Files(place).keep(inPieces(bytes), {}, async (content) => {
      const { sha256, size, type } = content;
      await waylog.execute(new StoreImageContent({ flightId, frameId, content: { sha256, size, type } }));
      return sha256;
    });
  const names = async () => (await all(place.list())).map(({ sha256 }) => sha256).sort();
  const using = () => ({
    store: waylog.app.get<EventStore>(EVENT_STORE),
    vocabulary: waylog.app.get(RunningContexts).vocabulary,
    pool: waylog.app.get<pg.Pool>(LOG_POOL),
  });
  /** As it is two days later. */
  const collect = (more: object = {}) =>
    collectFiles(place, { ...using(), graceMs: DAY, now: Date.now() + 2 * DAY, ...more });

  it('stay for as long as the log has the event, also when the image was removed, and go when the flight is erased', async () => {
    const [one, other] = [await newFlight(), await newFlight()];
    const [shared, own] = [picture(), picture()];
    const both = await store(one, 1, shared);
    expect(await store(other, 7, shared)).toBe(both);
    const ofOne = await store(one, 2, own);
    const unneeded = (await place.put(inPieces(picture()), { maxBytes: 10_000 })).sha256;
    await waylog.execute(new RemoveImage({ flightId: one, frameId: 2 }));

    expect((await collect()).removed).toEqual([unneeded]);
    expect(await names()).toEqual([both, ofOne].sort());
    // The log says no more which files an erased flight had.
    await waylog.execute(new EraseFlight({ flightId: one }));
    expect((await collect()).removed).toEqual([ofOne]);
    expect(await names()).toEqual([both]);
    await waylog.execute(new EraseFlight({ flightId: other }));
    expect((await collect()).removed).toEqual([both]);
  });

  it('go soon after an erasure, when a server looks after them', async () => {
    const flightId = await newFlight();
    const said: string[] = [];
    const say = (message: string) => said.push(message);
    const schedule = new FileSchedule({
      ...using(),
      files: new Files(place),
      everyMs: 2 * DAY,
      lookMs: 20,
      graceMs: 0,
      log: { info: say, warn: say },
    });
    const kept = await store(await newFlight());
    await store(flightId);
    schedule.start();
    try {
      await eventually(() => schedule.standing !== undefined);
      expect(schedule.standing).toEqual({ files: 2, bytes: 2_000, missing: 0 });
      await waylog.execute(new EraseFlight({ flightId }));
      await eventually(() => schedule.standing?.files === 1);
      expect(await names()).toEqual([kept]);
      expect(said).toEqual([expect.stringMatching(/^Removed 1 file of 1000 bytes/)]);
    } finally {
      await schedule.stop();
    }
  });

  it('are not removed by another log than theirs, or an older copy of it', async () => {
    await store(await newFlight());
    await collect();
    const ours = using().store;
    const older: EventStore = new Proxy(ours, {
      get: (target, name) => {
        // Everything that was recorded is gone.
        if (name === 'readAll') return () => Promise.resolve([]);

        if (name === 'readStream') return async function* () {};
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    await expect(collect({ store: older })).rejects.toMatchObject({ code: 'files.of-another-log' });
    expect(await names()).toHaveLength(1);
    expect((await collect({ store: older, acceptsLog: true })).removed).toHaveLength(1);
  });

  it('are not removed by a log that needs none of them, before anybody has said whose they are', async () => {
    const { sha256 } = await place.put(inPieces(picture()), { maxBytes: 10_000 });
    await expect(collect()).rejects.toMatchObject({ code: 'files.of-another-log' });
    expect(await names()).toEqual([sha256]);
    expect((await collect({ acceptsLog: true })).removed).toEqual([sha256]);
    // Its own are known as such, also when nobody needs them any more.
    const flightId = await newFlight();
    const own = await store(flightId);
    await collect();
    await waylog.execute(new EraseFlight({ flightId }));
    expect((await collect()).removed).toEqual([own]);
    const { sha256: other } = await place.put(inPieces(picture()), { maxBytes: 10_000 });
    expect((await collect()).removed).toEqual([other]);
  });

  it('are not removed when the note of whose they are cannot be read, until somebody says it', async () => {
    const flightId = await newFlight();
    const own = await store(flightId);
    await collect();
    await place.writeNote('{"last":');
    await waylog.execute(new EraseFlight({ flightId }));
    await expect(collect()).rejects.toMatchObject({ code: 'files.note-unreadable' });
    expect(await names()).toEqual([own]);
    expect((await collect({ acceptsLog: true })).removed).toEqual([own]);
    await expect(collect()).resolves.toMatchObject({ removed: [] });
  });

  it('are looked through soon after the first was stored, so that another log leaves them alone', async () => {
    const silent = () => undefined;
    const schedule = new FileSchedule({
      ...using(),
      files: new Files(place),
      everyMs: 2 * DAY,
      lookMs: 20,
      log: { info: silent, warn: silent },
    });
    schedule.start();
    try {
      await store(await newFlight());
      await eventually(async () => (await place.note())?.includes('"last"') === true);
    } finally {
      await schedule.stop();
    }
  });

  it('are not removed by a program that does not know all events that can need files', async () => {
    await store(await newFlight());
    await collect();
    const { vocabulary } = using();
    const older: Vocabulary = { flight: { ...vocabulary['flight'], files: { Other: () => [] } } };
    await expect(collect({ vocabulary: older })).rejects.toMatchObject({ code: 'files.unknown-references' });
    await expect(collect({ vocabulary: {}, acceptsLog: true })).rejects.toMatchObject({
      code: 'files.no-context',
    });
    expect(await names()).toHaveLength(1);
  });

  it('are not removed while an event cannot be read', async () => {
    await store(await newFlight());
    const { vocabulary, pool } = using();
    const unreadable: EventStore = new Proxy(using().store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (name !== 'readAll') return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        return async (options: never) =>
          (await target.readAll(options)).map((event) => ({
            ...event,
            get data(): never {
              throw new Error('event.unreadable');
            },
          }));
      },
    });
    const options = { store: unreadable, vocabulary, pool, graceMs: 0 };
    await expect(collectFiles(place, options)).rejects.toThrow('event.unreadable');
    expect(await names()).toHaveLength(1);
  });

  it('are not removed while a loss of events is not acknowledged', async () => {
    await store(await newFlight());
    await waylog.store.pool.query(
      `insert into log.losses (noticed_by, kept_position, seen_position, streams) values ('test', '1', '2', '[]')`,
    );
    try {
      await expect(collect()).rejects.toMatchObject({ code: 'files.losses-open' });
    } finally {
      await waylog.store.pool.query(`delete from log.losses`);
    }
  });
});
