import { setImmediate } from 'node:timers/promises';
import type { Query } from '@nestjs/cqrs';
import {
  GetFlightEvents,
  GetFrameMinutes,
  GetFrameResults,
  GetGeofences,
  GetWaypoints,
  type FlightTransaction,
  type TransactionOperation,
  type Waypoint,
} from '#lib/flight';
import { GetEvents, EVENT_STORE } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { logs } from './support/database.js';
import { aChunk, aFlight, aFrame, at, aWaypoint } from './support/samples.js';
import { startWaylog, useWaylog } from './support/waylog.js';

// Every test case of the reference contract (IFlightDatabase), under its own name. The reference states times for some
// of them; those are measured by `npm run bench`, because a timed test fails on a busy machine and proves nothing.
describe.each(logs)('FlightDatabase, with the log in %s', (log) => {
  const waylog = useWaylog({}, log);
  let flights = 0;
  const newId = () => `contract-${++flights}`;
  const db = () => waylog.database;
  const given = async (waypoints = 0) => {
    const id = newId();
    await db().insertFlight(aFlight(id, waypoints));
    return id;
  };
  const rowsOf = async (id: string) => {
    const counts: Record<string, number> = {};
    for (const table of [
      'waypoints',
      'geofences',
      'flight_state',
      'frame_results',
      'heading_history',
      'flight_images',
      'chunks',
    ]) {
      const { rows } = await waylog.store.pool.query<{ n: number }>(
        `select count(*)::integer as n from flight.${table} where flight_id = $1`,
        [id],
      );
      counts[table] = rows[0]?.n ?? NaN;
    }
    return counts;
  };

  describe('input that the types of the contract exclude', () => {
    const untyped = () => db() as unknown as Record<string, (...given: unknown[]) => Promise<unknown>>;
    const refused = (field: string) => ({
      kind: 'invalid',
      data: { errors: expect.arrayContaining([expect.objectContaining({ field })]) as unknown },
    });

    it('is refused by the name of the field, and changes nothing', async () => {
      const id = await given(2);
      const before = await db().getFlightById(id);
      await expect(untyped()['updateFlight']?.({ id, altidude: 5 })).rejects.toMatchObject(
        refused('changes.altidude'),
      );
      await expect(
        db().updateWaypoint(id, 'w-0', { ...aWaypoint(0), id: 'w-1' } as Waypoint),
      ).rejects.toMatchObject(refused('waypoint.id'));
      expect(await db().getFlightById(id)).toEqual(before);
      // Other parts of a flight are ignored: a flight that was read can be given back.
      expect(await db().updateFlight({ ...before!, name: 'again' })).toBe(true);
    });

    it.each([
      ['updateFlight', [], 'flight'],
      ['updateWaypoint', ['f', 'w'], 'waypoint'],
      ['saveFlightState', [null], 'state'],
      ['queryProcessingHistory', [], 'filters'],
    ] as const)('is refused when %s gets no object', async (method, args, field) => {
      await expect(untyped()[method]?.(...args)).rejects.toMatchObject(refused(field));
    });

    it.each(['insertFlight', 'updateFlight', 'saveFlightState'] as const)(
      'is refused in a transaction in which %s gets nothing, even if the error was caught',
      async (method) => {
        const id = await given();
        const careless = (tx: FlightTransaction) => {
          tx.deleteFlight(id);
          try {
            (tx as unknown as Record<string, () => void>)[method]?.();
          } catch {
            // As a caller might.
          }
        };
        await expect(db().executeTransaction([careless])).rejects.toMatchObject({ kind: 'invalid' });
        expect(await db().getFlightById(id)).not.toBeNull();
      },
    );
  });

  describe('insert_flight', () => {
    test('Insert flight with 100 waypoints: All data persisted', async () => {
      const id = newId();
      const flight = aFlight(id, 100);
      expect(await db().insertFlight(flight)).toBe(id);
      const stored = await db().getFlightById(id);
      const { waypoints, geofences, ...details } = flight;
      expect(stored).toMatchObject(details);
      expect(stored?.waypoints).toEqual(waypoints);
      expect(stored?.geofences).toEqual(geofences);
      expect(await db().loadFlightState(id)).toMatchObject({
        flightId: id,
        status: 'created',
        framesProcessed: 0,
      });
    });

    test('Duplicate flight_id: Raises IntegrityError', async () => {
      const id = await given();
      await expect(db().insertFlight(aFlight(id))).rejects.toMatchObject({
        code: 'flight.already-exists',
        kind: 'conflict',
      });
    });

    test('Transaction rollback: Error mid-insert → complete rollback', async () => {
      const id = newId();
      const broken = aFlight(id, 50);
      // The last waypoint has the id of the first: everything before it is valid.
      const waypoints = [...(broken.waypoints ?? []), aWaypoint(0)];
      await expect(db().insertFlight({ ...broken, waypoints })).rejects.toMatchObject({
        code: 'waypoint.already-exists',
      });
      expect(await db().getFlightById(id)).toBeNull();
      expect(Object.values(await rowsOf(id)).every((n) => n === 0)).toBe(true);
      const store = waylog.app.get<EventStore>(EVENT_STORE);
      for await (const page of store.readStream(`flight-${id}`)) expect(page).toEqual([]);
    });
  });

  describe('update_flight', () => {
    test('Update existing flight: Returns True', async () => {
      const id = await given();
      expect(await db().updateFlight({ id, name: 'Renamed', description: 'and described' })).toBe(true);
      expect(await db().getFlightById(id)).toMatchObject({
        name: 'Renamed',
        description: 'and described',
        altitude: 120.5,
      });
    });

    test('Update non-existent flight: Returns False', async () => {
      expect(await db().updateFlight({ id: 'nowhere', name: 'x' })).toBe(false);
    });
  });

  describe('query_flights', () => {
    test('Filter by name: Returns matching flights', async () => {
      for (const n of [1, 2, 3]) await db().insertFlight(aFlight(newId(), 0, { name: `Mission ${n}` }));
      const found = await db().queryFlights({ name: 'Mission%' }, 10, 0);
      expect(found.map(({ name }) => name)).toEqual(['Mission 1', 'Mission 2', 'Mission 3']);
      expect(found[0]).not.toHaveProperty('waypoints');
    });

    test('Pagination: offset=100, limit=50 → returns flights 100-149', async () => {
      const names = Array.from({ length: 160 }, (_, n) => `Page ${String(n).padStart(3, '0')}`);
      for (const [n, name] of names.entries())
        await db().insertFlight(aFlight(newId(), 0, { name, createdAt: at(n) }));
      const found = await db().queryFlights({ name: 'Page %' }, 50, 100);
      expect(found.map(({ name }) => name)).toEqual(names.slice(100, 150));
    });

    test('Filter by name: only % is a wildcard, and can be escaped', async () => {
      const names = [
        'n_1 50%',
        'n_1 50 of 60',
        'nx1 50%',
        'N_1 50%',
        'n_1',
        'c:\\temp',
        'c:\\_temp',
        'c:\\\\temp',
        'line\nbreak',
      ];
      for (const name of names) await db().insertFlight(aFlight(newId(), 0, { name: `13 ${name}` }));
      const found = async (name: string) =>
        (await db().queryFlights({ name: `13 ${name}` }, 100, 0)).map((flight) => flight.name.slice(3));
      expect(await found('%')).toEqual(names);
      expect(await found('n_1')).toEqual(['n_1']);
      expect(await found('n_1%')).toEqual(['n_1 50%', 'n_1 50 of 60', 'n_1']);
      expect(await found('%_1%')).toEqual(['n_1 50%', 'n_1 50 of 60', 'N_1 50%', 'n_1']);
      expect(await found('%50\\%')).toEqual(['n_1 50%', 'nx1 50%', 'N_1 50%']);
      expect(await found('___')).toEqual([]);
      expect(await found('c:\\temp')).toEqual(['c:\\temp']);
      expect(await found('c:\\\\temp')).toEqual(['c:\\temp']);
      expect(await found('c:\\_temp')).toEqual(['c:\\_temp']);
      expect(await found('c:\\\\\\\\temp')).toEqual(['c:\\\\temp']);
      expect(await found('c:\\\\%')).toEqual(['c:\\temp', 'c:\\_temp', 'c:\\\\temp']);
      expect(await found('n\\')).toEqual([]);
      expect(await found('line%')).toEqual(['line\nbreak']);
      expect(await db().queryFlights({ name: '' }, 100, 0)).toEqual([]);
    });

    test('No matches: Returns []', async () => {
      expect(await db().queryFlights({ name: 'no such name' }, 10, 0)).toEqual([]);
    });
  });

  describe('get_flight_by_id', () => {
    test('Existing flight: Returns complete Flight', async () => {
      const id = await given(3);
      expect(await db().getFlightById(id)).toEqual({
        ...aFlight(id, 3),
        createdAt: expect.any(String) as string,
        updatedAt: expect.any(String) as string,
      });
    });

    test('Non-existent flight: Returns None', async () => {
      expect(await db().getFlightById('nowhere')).toBeNull();
    });

    test('Large flight (3000 waypoints): Returns within 150ms', async () => {
      // The time is measured by `npm run bench`; this tests that all of them come, in order.
      const id = await given(3_000);
      const flight = await db().getFlightById(id);
      expect(flight?.waypoints).toEqual(Array.from({ length: 3_000 }, (_, n) => aWaypoint(n)));
    });
  });

  describe('delete_flight', () => {
    test('Delete flight: Cascades to all related tables', async () => {
      const id = await given(5);
      await db().saveFrameResult(id, aFrame(1));
      await db().saveHeading(id, 1, 90, at(1));
      await db().saveImageMetadata(id, 1, '/images/1.jpg', {});
      await db().saveChunkState(id, aChunk('c1'));
      await db().getFlightById(id);
      expect(Object.values(await rowsOf(id)).every((n) => n > 0)).toBe(true);
      expect(await db().deleteFlight(id)).toBe(true);
      expect(await db().getFlightById(id)).toBeNull();
      expect(Object.values(await rowsOf(id)).every((n) => n === 0)).toBe(true);
    });

    test('Non-existent flight: Returns False', async () => {
      expect(await db().deleteFlight('nowhere')).toBe(false);
    });
  });

  describe('get_waypoints', () => {
    test('All waypoints: limit=None → returns all', async () => {
      expect(await db().getWaypoints(await given(250))).toHaveLength(250);
    });

    test('Limited: limit=100 → returns first 100', async () => {
      const waypoints = await db().getWaypoints(await given(250), 100);
      expect(waypoints.map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, n) => `w${n}`));
    });
  });

  describe('insert_waypoint', () => {
    test('Valid insertion: Returns waypoint_id', async () => {
      const id = await given();
      expect(await db().insertWaypoint(id, aWaypoint(7))).toBe('w7');
      expect(await db().getWaypoints(id)).toEqual([aWaypoint(7)]);
    });

    test('Non-existent flight: Raises ForeignKeyError', async () => {
      await expect(db().insertWaypoint('nowhere', aWaypoint(1))).rejects.toMatchObject({
        code: 'flight.not-found',
      });
    });
  });

  describe('update_waypoint', () => {
    test('Update existing: Returns True', async () => {
      const id = await given(2);
      const moved = aWaypoint(1, { lat: 63.9, confidence: 0.99, refined: true });
      expect(await db().updateWaypoint(id, 'w1', moved)).toBe(true);
      expect(await db().getWaypoints(id)).toEqual([aWaypoint(0), moved]);
    });

    test('Non-existent: Returns False', async () => {
      expect(await db().updateWaypoint(await given(), 'w1', aWaypoint(1))).toBe(false);
    });

    test('High-frequency: 100 updates/sec sustained', async () => {
      // The rate is measured by `npm run bench`; this tests that none of 1,000 updates in a row is lost.
      const id = await given(100);
      const updates = Array.from({ length: 1_000 }, (_, n) => aWaypoint(n % 100, { confidence: n / 1_000 }));
      const answers = await Promise.all(
        updates.map((waypoint) => db().updateWaypoint(id, waypoint.id, waypoint)),
      );
      expect(answers.every((answer) => answer)).toBe(true);
      expect(await db().getWaypoints(id)).toEqual(updates.slice(900));
    });
  });

  describe('batch_update_waypoints', () => {
    test('Batch update 100: All succeed', async () => {
      const id = await given(100);
      const refined = Array.from({ length: 100 }, (_, n) => aWaypoint(n, { refined: true }));
      expect(await db().batchUpdateWaypoints(id, refined)).toEqual({
        success: true,
        updatedCount: 100,
        failedIds: [],
      });
      expect(await db().getWaypoints(id)).toEqual(refined);
    });

    test('Partial failure: Returns failed_ids', async () => {
      const id = await given(2);
      const batch = [
        aWaypoint(0, { refined: true }),
        aWaypoint(8),
        aWaypoint(1, { refined: true }),
        aWaypoint(9),
      ];
      expect(await db().batchUpdateWaypoints(id, batch)).toEqual({
        success: false,
        updatedCount: 2,
        failedIds: ['w8', 'w9'],
      });
      expect(await db().getWaypoints(id)).toEqual([batch[0], batch[2]]);
    });
  });

  describe('save_flight_state', () => {
    const state = (flightId: string) => ({
      flightId,
      status: 'processing',
      framesProcessed: 12,
      framesTotal: 500,
      currentFrame: 12,
      blocked: false,
      searchGridSize: 9,
      createdAt: '2026-05-01T12:00:00.000Z',
      updatedAt: '2026-05-01T12:00:01.000Z',
    });

    test('Save state → persisted', async () => {
      const id = await given();
      expect(await db().saveFlightState(state(id))).toBe(true);
      expect(await db().loadFlightState(id)).toEqual(state(id));
    });

    test('Update state → overwrites', async () => {
      const id = await given();
      await db().saveFlightState(state(id));
      const later = {
        ...state(id),
        framesProcessed: 13,
        currentFrame: null,
        blocked: true,
        searchGridSize: null,
      };
      await db().saveFlightState(later);
      expect(await db().loadFlightState(id)).toEqual(later);
      expect((await rowsOf(id))['flight_state']).toBe(1);
    });
  });

  describe('load_flight_state', () => {
    test('Load existing → returns state', async () => {
      const id = await given();
      expect(await db().loadFlightState(id)).toMatchObject({ flightId: id, status: 'created' });
    });

    test('Load non-existent → returns None', async () => {
      expect(await db().loadFlightState('nowhere')).toBeNull();
    });
  });

  describe('query_processing_history', () => {
    const saved = async (status: string, updatedAt: string) => {
      const flightId = await given();
      await db().saveFlightState({
        flightId,
        status,
        framesProcessed: 1,
        framesTotal: 1,
        blocked: false,
        updatedAt,
      });
      return flightId;
    };

    test('Query by date range → returns flights', async () => {
      const ids = [];
      for (const day of [1, 2, 3, 4]) ids.push(await saved('dated', `2019-07-0${day}T10:00:00.000Z`));
      const found = await db().queryProcessingHistory({
        from: '2019-07-02T00:00:00Z',
        to: '2019-07-03T23:59:59Z',
      });
      expect(found.map(({ flightId }) => flightId)).toEqual(ids.slice(1, 3));
    });

    test('Query by status → returns filtered', async () => {
      const failed = [await saved('failed-once', at(1)), await saved('failed-once', at(2))];
      await saved('completed-once', at(3));
      const found = await db().queryProcessingHistory({ status: 'failed-once' });
      expect(found.map(({ flightId, status }) => [flightId, status])).toEqual(
        failed.map((id) => [id, 'failed-once']),
      );
    });
  });

  describe('save_frame_result', () => {
    test('Save result → persisted', async () => {
      const id = await given();
      expect(await db().saveFrameResult(id, aFrame(3))).toBe(true);
      expect(await db().getFrameResults(id)).toEqual([
        { ...aFrame(3), updatedAt: expect.any(String) as string },
      ]);
    });

    test('Update on refinement → overwrites', async () => {
      const id = await given();
      await db().saveFrameResult(id, aFrame(3));
      const refined = aFrame(3, { gpsCenter: { lat: 63.41, lon: 10.41 }, confidence: 0.97, refined: true });
      await db().saveFrameResult(id, refined);
      expect(await db().getFrameResults(id)).toEqual([
        { ...refined, updatedAt: expect.any(String) as string },
      ]);
    });
  });

  describe('get_frame_results', () => {
    test('Get results → returns all frames', async () => {
      const id = await given();
      for (const n of [2, 0, 1]) await db().saveFrameResult(id, aFrame(n));
      expect((await db().getFrameResults(id)).map(({ frameId }) => frameId)).toEqual([0, 1, 2]);
    });

    test('No results → returns empty list', async () => {
      expect(await db().getFrameResults(await given())).toEqual([]);
    });
  });

  describe('save_heading', () => {
    test('Save heading: Persisted correctly', async () => {
      const id = await given();
      expect(await db().saveHeading(id, 4, 271.25, at(4))).toBe(true);
      expect(await db().getHeadingHistory(id)).toEqual([{ frameId: 4, heading: 271.25, timestamp: at(4) }]);
    });

    test('Overwrite heading: Same frame_id → updates value', async () => {
      const id = await given();
      await db().saveHeading(id, 4, 271.25, at(4));
      await db().saveHeading(id, 4, 270.5, at(4));
      expect(await db().getHeadingHistory(id)).toEqual([{ frameId: 4, heading: 270.5, timestamp: at(4) }]);
    });
  });

  describe('get_heading_history', () => {
    const withHeadings = async () => {
      const id = await given();
      await Promise.all(Array.from({ length: 25 }, (_, n) => db().saveHeading(id, n, n, at(n))));
      return id;
    };

    test('Get all: Returns complete history', async () => {
      expect((await db().getHeadingHistory(await withHeadings())).map(({ frameId }) => frameId)).toEqual(
        Array.from({ length: 25 }, (_, n) => n),
      );
    });

    test('Get last 10: Returns 10 most recent', async () => {
      expect((await db().getHeadingHistory(await withHeadings(), 10)).map(({ frameId }) => frameId)).toEqual(
        Array.from({ length: 10 }, (_, n) => n + 15),
      );
    });
  });

  describe('get_latest_heading', () => {
    test('Has history: Returns latest heading', async () => {
      const id = await given();
      await db().saveHeading(id, 2, 20, at(2));
      await db().saveHeading(id, 1, 10, at(1));
      expect(await db().getLatestHeading(id)).toBe(20);
    });

    test('No history: Returns None', async () => {
      expect(await db().getLatestHeading(await given())).toBeNull();
    });
  });

  describe('save_image_metadata', () => {
    const metadata = { original_name: 'DSC0001.JPG', width: 6000, height: 4000, file_size: 12_345_678 };

    test('Save metadata: Persisted with file_path', async () => {
      const id = await given();
      expect(await db().saveImageMetadata(id, 1, '/images/1.jpg', metadata)).toBe(true);
      expect(await db().getImagePath(id, 1)).toBe('/images/1.jpg');
      expect(await db().getImageMetadata(id, 1)).toEqual(metadata);
    });

    test('Overwrite: Same frame_id → updates', async () => {
      const id = await given();
      await db().saveImageMetadata(id, 1, '/images/1.jpg', metadata);
      await db().saveImageMetadata(id, 1, '/archive/1.jpg', { ...metadata, width: 3000 });
      expect(await db().getImagePath(id, 1)).toBe('/archive/1.jpg');
      expect(await db().getImageMetadata(id, 1)).toEqual({ ...metadata, width: 3000 });
    });
  });

  describe('get_image_path', () => {
    test('Exists: Returns file path', async () => {
      const id = await given();
      await db().saveImageMetadata(id, 0, '/images/0.jpg', {});
      expect(await db().getImagePath(id, 0)).toBe('/images/0.jpg');
    });

    test('Not exists: Returns None', async () => {
      expect(await db().getImagePath(await given(), 0)).toBeNull();
      expect(await db().getImageMetadata('nowhere', 0)).toBeNull();
    });
  });

  describe('save_chunk_state', () => {
    test('Save new chunk: Persisted successfully', async () => {
      const id = await given();
      await db().saveImageMetadata(id, 1, '/images/1.jpg', {});
      const chunk = aChunk('c1', { hasAnchor: true, anchorFrameId: 1, anchorGps: { lat: 63.4, lon: 10.4 } });
      expect(await db().saveChunkState(id, chunk)).toBe(true);
      expect(await db().loadChunkStates(id)).toEqual([chunk]);
    });

    test('Update existing chunk: State updated', async () => {
      const id = await given();
      await db().saveChunkState(id, aChunk('c1'));
      const later = aChunk('c1', {
        frames: [0, 1, 2, 3],
        endFrameId: null,
        isActive: false,
        matchingStatus: 'matching',
      });
      await db().saveChunkState(id, later);
      expect(await db().loadChunkStates(id)).toEqual([later]);
    });

    test('Multiple chunks: All persisted correctly', async () => {
      const id = await given();
      const chunks = [0, 10, 20].map((start) =>
        aChunk(`c${start}`, { startFrameId: start, frames: [start], endFrameId: null }),
      );
      for (const chunk of [...chunks].reverse()) await db().saveChunkState(id, chunk);
      expect(await db().loadChunkStates(id)).toEqual(chunks);
    });
  });

  describe('load_chunk_states', () => {
    test('Load chunks: Returns all chunks', async () => {
      const id = await given();
      await db().saveChunkState(id, aChunk('a'));
      await db().saveChunkState(id, aChunk('b', { startFrameId: 1 }));
      expect((await db().loadChunkStates(id)).map(({ chunkId }) => chunkId)).toEqual(['a', 'b']);
    });

    test('No chunks: Returns empty list', async () => {
      expect(await db().loadChunkStates(await given())).toEqual([]);
    });

    test('Crash recovery: Chunks restored correctly', async () => {
      // A second process with nothing in memory; test/recovery.e2e.spec.ts kills one for real.
      const id = await given();
      await db().saveChunkState(id, aChunk('a', { isActive: false, matchingStatus: 'anchored' }));
      const before = await db().loadChunkStates(id);
      const restarted = await startWaylog(waylog.store, { projector: false });
      try {
        expect(await restarted.database.loadChunkStates(id)).toEqual(before);
        expect(await restarted.database.deleteChunkState(id, 'a')).toBe(true);
      } finally {
        await restarted.close();
      }
    });
  });

  describe('delete_chunk_state', () => {
    test('Delete chunk: Removed from database', async () => {
      const id = await given();
      await db().saveChunkState(id, aChunk('c1'));
      expect(await db().deleteChunkState(id, 'c1')).toBe(true);
      expect(await db().loadChunkStates(id)).toEqual([]);
    });

    test('Non-existent chunk: Returns False', async () => {
      expect(await db().deleteChunkState(await given(), 'c1')).toBe(false);
    });
  });

  describe('limits, ids and times', () => {
    const refused = (field: string) => ({ code: 'input.invalid', data: { errors: [{ field }] } });

    test('are refused with the field and the rule, never with an error of the database', async () => {
      const id = await given(2);
      const state = { status: 'x', framesProcessed: 1, framesTotal: 1, blocked: false };
      for (const wrong of [-1, 0, 1.5, NaN, Infinity, 2 ** 53, '2' as unknown as number]) {
        await expect(db().getWaypoints(id, wrong)).rejects.toMatchObject(refused('limit'));
        await expect(db().getHeadingHistory(id, wrong)).rejects.toMatchObject(refused('last'));
        await expect(db().queryFlights({}, wrong, 0)).rejects.toMatchObject(refused('limit'));
        await expect(db().queryProcessingHistory({ limit: wrong })).rejects.toMatchObject(refused('limit'));
        const queries: Query<unknown>[] = [
          new GetWaypoints(id, wrong, { asOf: '0' }),
          new GetFrameResults(id, { limit: wrong }),
          new GetFlightEvents(id, 0, wrong),
          new GetEvents(undefined, wrong),
        ];
        for (const query of queries)
          await expect(waylog.query(query)).rejects.toMatchObject(refused('limit'));
        if (wrong === 0) continue;
        await expect(db().queryFlights({}, 10, wrong)).rejects.toMatchObject(refused('offset'));
        await expect(db().queryProcessingHistory({ offset: wrong })).rejects.toMatchObject(refused('offset'));
        await expect(db().getImagePath(id, wrong)).rejects.toMatchObject(refused('frameId'));
        await expect(db().getImageMetadata(id, wrong)).rejects.toMatchObject(refused('frameId'));
        await expect(db().saveHeading(id, wrong, 1, at(1))).rejects.toMatchObject(refused('heading.frameId'));
        const counted = db().saveFlightState({ ...state, flightId: id, framesProcessed: wrong });
        await expect(counted).rejects.toMatchObject(refused('state.framesProcessed'));
        const ranges: [Query<unknown>, string][] = [
          [new GetFrameResults(id, { from: wrong }), 'from'],
          [new GetFrameResults(id, { to: wrong }), 'to'],
          [new GetFlightEvents(id, wrong), 'fromRevision'],
        ];
        for (const [query, field] of ranges)
          await expect(waylog.query(query)).rejects.toMatchObject(refused(field));
      }
      // However it is omitted, no limit means no limit.
      expect(await db().getWaypoints(id, null as never)).toHaveLength(2);
      expect(await waylog.query(new GetFrameResults(id, { from: null, to: null, limit: null }))).toEqual([]);
      expect(await waylog.query(new GetFlightEvents(id, null, null))).not.toEqual([]);
    });

    test('apply to impossible ids, in every query', async () => {
      for (const id of ['', 'a\u0000b', 'x'.repeat(129), undefined as never, 7 as never]) {
        const reads: Promise<unknown>[] = [
          db().getFlightById(id),
          db().getWaypoints(id),
          db().loadFlightState(id),
          db().getFrameResults(id),
          db().getHeadingHistory(id),
          db().getLatestHeading(id),
          db().getImagePath(id, 1),
          db().getImageMetadata(id, 1),
          db().loadChunkStates(id),
          waylog.query(new GetGeofences(id)),
          waylog.query(new GetFrameMinutes(id)),
          waylog.query(new GetFlightEvents(id)),
        ];
        for (const read of await Promise.allSettled(reads))
          expect(read).toMatchObject({ status: 'rejected', reason: refused('flightId') });
      }
    });

    test('accept a Date wherever a time is, and refuse an invalid one', async () => {
      const [day, day2] = [new Date('2018-03-01T12:00:00Z'), new Date('2018-03-02T12:00:00Z')];
      const writes = (time: Date) => {
        const id = newId();
        const parts = { waypoints: [{ ...aWaypoint(0), timestamp: time }], createdAt: time, updatedAt: time };
        const state = { flightId: id, status: 'dated', framesProcessed: 1, framesTotal: 1, blocked: false };
        const waypoint = { ...aWaypoint(0, { refined: true }), timestamp: time };
        const all: (() => Promise<unknown>)[] = [
          () => db().insertFlight({ ...aFlight(id), ...parts }),
          () => db().insertWaypoint(id, { ...aWaypoint(1), timestamp: time }),
          () => db().updateWaypoint(id, 'w0', waypoint),
          () => db().batchUpdateWaypoints(id, [waypoint]),
          () => db().saveFrameResult(id, { ...aFrame(1), timestamp: time }),
          () => db().saveHeading(id, 1, 90, time),
          () => db().saveFlightState({ ...state, createdAt: time, updatedAt: time }),
          () => db().queryFlights({ createdFrom: time, createdTo: day2 }, 10, 0),
          () => db().queryProcessingHistory({ from: time, to: day2 }),
          () => {
            const of = newId();
            return db().executeTransaction([
              (transaction) => transaction.insertFlight({ ...aFlight(of), id: of, ...parts }),
              (transaction) => transaction.insertWaypoint(of, { ...aWaypoint(1), timestamp: time }),
              (transaction) =>
                transaction.updateWaypoint(of, 'w1', { ...waypoint, id: 'w1' } as typeof waypoint),
              (transaction) => transaction.batchUpdateWaypoints(of, [waypoint]),
              (transaction) => transaction.saveFrameResult(of, { ...aFrame(1), timestamp: time }),
              (transaction) => transaction.saveHeading(of, 1, 90, time),
              (transaction) =>
                transaction.saveFlightState({ ...state, flightId: of, createdAt: time, updatedAt: time }),
            ]);
          },
        ];
        return { id, all };
      };
      const { id, all } = writes(day);
      for (const one of all) await one();
      const flight = await db().getFlightById(id);
      expect(flight).toMatchObject({ createdAt: day.toISOString(), updatedAt: day.toISOString() });
      expect(flight?.waypoints.map(({ timestamp }) => timestamp)).toEqual([
        day.toISOString(),
        day.toISOString(),
      ]);
      expect((await db().queryFlights({ createdFrom: day, createdTo: day2 }, 10, 0)).length).toBe(2);
      expect((await db().queryProcessingHistory({ from: day, to: day2 })).length).toBe(2);
      for (const one of writes(new Date(NaN)).all)
        await expect(one()).rejects.toMatchObject({ code: 'input.invalid' });
      // Free-form JSON comes back as it went in, and a Date would not.
      const image = db().saveImageMetadata(id, 1, '/1.jpg', { taken: day });
      await expect(image).rejects.toMatchObject(refused('image.metadata'));
    });
  });

  describe('execute_transaction', () => {
    test('records all operations, or none', async () => {
      const id = await given(2);
      const done = await db().executeTransaction([
        (transaction) => transaction.updateWaypoint(id, 'w0', aWaypoint(0, { refined: true })),
        (transaction) => transaction.saveFrameResult(id, aFrame(0, { refined: true })),
      ]);
      expect(done).toBe(true);
      const refused = await db().executeTransaction([
        (transaction) => transaction.updateWaypoint(id, 'w1', aWaypoint(1, { refined: true })),
        (transaction) => transaction.updateWaypoint(id, 'w9', aWaypoint(9)),
      ]);
      expect(refused).toBe(false);
      expect(await db().getWaypoints(id)).toEqual([aWaypoint(0, { refined: true }), aWaypoint(1)]);
      expect(await db().getFrameResults(id)).toHaveLength(1);
    });

    test('records what was passed, even if the objects are changed afterwards', async () => {
      const id = await given(0);
      await db().executeTransaction([
        async (transaction) => {
          const frame = { ...aFrame(4), gpsCenter: { lat: 1, lon: 1 } };
          transaction.saveFrameResult(id, frame);
          const metadata = { tags: ['a'] };
          transaction.saveImageMetadata(id, 4, '/4.jpg', metadata);
          await setImmediate();
          frame.gpsCenter.lat = 9;
          metadata.tags.push('b');
        },
      ]);
      expect((await db().getFrameResults(id))[0]?.gpsCenter).toEqual({ lat: 1, lon: 1 });
      expect(await db().getImageMetadata(id, 4)).toMatchObject({ tags: ['a'] });
    });

    test.each([[undefined], [null], [() => undefined], [{}]])(
      'refuses what is not a list of operations: %p',
      async (wrong) => {
        await expect(db().executeTransaction(wrong as never)).rejects.toMatchObject({
          code: 'input.invalid',
          data: { errors: [{ field: 'operations' }] },
        });
      },
    );

    const untouched = async (id: string) => {
      expect(await db().getWaypoints(id)).toEqual([aWaypoint(0), aWaypoint(1)]);
      expect(await db().getFrameResults(id)).toEqual([]);
    };

    test('waits for async operations, one after another', async () => {
      const id = await given(2);
      const order: string[] = [];
      const done = await db().executeTransaction([
        async (transaction) => {
          const [first] = await db().getWaypoints(id);
          transaction.updateWaypoint(id, 'w0', { ...(first as Waypoint), refined: true });
          await setImmediate();
          transaction.saveFrameResult(id, aFrame(0));
          order.push('first');
        },
        (transaction) => {
          order.push('second');
          transaction.saveFrameResult(id, aFrame(1));
        },
      ]);
      expect([done, order]).toEqual([true, ['first', 'second']]);
      expect(await db().getWaypoints(id)).toEqual([aWaypoint(0, { refined: true }), aWaypoint(1)]);
      expect((await db().getFrameResults(id)).map(({ frameId }) => frameId)).toEqual([0, 1]);
    });

    test('records nothing if an operation throws or rejects, and reports why', async () => {
      const id = await given(2);
      const update: TransactionOperation = (transaction) =>
        transaction.updateWaypoint(id, 'w0', aWaypoint(0, { refined: true }));
      const failing: TransactionOperation[] = [
        async (transaction) => {
          transaction.saveFrameResult(id, aFrame(0));
          await setImmediate();
          throw new Error('the camera is gone');
        },
        () => Promise.reject(new Error('the camera is gone')),
        () => {
          throw new Error('the camera is gone');
        },
      ];
      for (const failure of failing)
        for (const operations of [
          [update, failure],
          [failure, update],
        ])
          await expect(db().executeTransaction(operations)).rejects.toThrow('the camera is gone');
      await untouched(id);
    });

    test('is refused as a whole even if an operation has caught its refusal', async () => {
      const [id, other] = [await given(2), await given(2)];
      const done = db().executeTransaction([
        (transaction) => transaction.updateWaypoint(id, 'w0', aWaypoint(0, { refined: true })),
        async (transaction) => {
          await setImmediate();
          try {
            transaction.saveFrameResult(other, aFrame(0));
          } catch {
            // Never mind.
          }
        },
      ]);
      await expect(done).rejects.toMatchObject({ code: 'input.invalid' });
      await untouched(id);
      await untouched(other);
    });

    test('accepts nothing that an operation passes after its end', async () => {
      const id = await given(2);
      let late: Promise<void> | undefined;
      const done = await db().executeTransaction([
        (transaction) => {
          late = setImmediate().then(() => transaction.saveFrameResult(id, aFrame(0)));
        },
      ]);
      expect(done).toBe(true);
      await expect(late).rejects.toMatchObject({ code: 'transaction.ended' });
      await untouched(id);
    });

    test('refuses invalid operations, and results of operations', async () => {
      const id = await given(2);
      const odd: unknown[] = [
        db().getWaypoints(id),
        'updateWaypoint',
        null,
        () => false,
        async () => Promise.resolve(false),
        // Calling one executes nothing.
        function* () {
          yield 1;
        },
        async function* () {
          yield await Promise.resolve(1);
        },
        (transaction: FlightTransaction) => {
          transaction.updateWaypoint(id, 'w0', aWaypoint(0));
          return true;
        },
      ];
      for (const operation of odd) {
        const operations = [
          (transaction: FlightTransaction) =>
            transaction.updateWaypoint(id, 'w0', aWaypoint(0, { refined: true })),
          operation as TransactionOperation,
        ];
        await expect(db().executeTransaction(operations)).rejects.toMatchObject({
          code: 'input.invalid',
          data: { errors: [{ field: 'operations[1]' }] },
        });
      }
      await untouched(id);
    });

    test('creates, refines and deletes a flight', async () => {
      const id = newId();
      const done = await db().executeTransaction([
        (transaction) => transaction.insertFlight({ ...aFlight(id, 3), id }),
        (transaction) =>
          transaction.batchUpdateWaypoints(
            id,
            [0, 1].map((n) => aWaypoint(n, { refined: true })),
          ),
      ]);
      expect(done).toBe(true);
      expect(await db().getWaypoints(id)).toEqual([
        aWaypoint(0, { refined: true }),
        aWaypoint(1, { refined: true }),
        aWaypoint(2),
      ]);
      const again = db().executeTransaction([
        (transaction) => transaction.insertFlight({ ...aFlight(id), id }),
      ]);
      await expect(again).rejects.toMatchObject({ code: 'flight.already-exists' });
      expect(await db().executeTransaction([(transaction) => transaction.deleteFlight(id)])).toBe(true);
      expect(await db().getFlightById(id)).toBeNull();
      expect(await db().executeTransaction([(transaction) => transaction.deleteFlight(id)])).toBe(false);
      const nameless = aFlight('', 0) as Partial<ReturnType<typeof aFlight>>;
      delete (nameless as { id?: string }).id;
      await expect(
        db().executeTransaction([(transaction) => transaction.insertFlight(nameless as never)]),
      ).rejects.toMatchObject({ code: 'input.invalid' });
    });

    test('records no part of a batch of waypoints', async () => {
      const id = await given(2);
      const batch = [0, 9, 1].map((n) => aWaypoint(n, { refined: true }));
      const done = await db().executeTransaction([
        (transaction) => transaction.saveFrameResult(id, aFrame(0)),
        (transaction) => transaction.batchUpdateWaypoints(id, batch),
      ]);
      expect(done).toBe(false);
      await untouched(id);
    });

    test('refuses operations on two flights', async () => {
      const [a, b] = [await given(1), await given(1)];
      const operations = [a, b].map(
        (id) => (transaction: { updateWaypoint: (f: string, w: string, v: object) => void }) =>
          transaction.updateWaypoint(id, 'w0', aWaypoint(0)),
      );
      await expect(db().executeTransaction(operations as never)).rejects.toMatchObject({
        code: 'input.invalid',
      });
    });
  });
});
