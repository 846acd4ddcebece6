import { badFields, type WaylogError } from '#lib/platform';
import type { FlightCommand, Slice } from './command.js';
import type { FlightEvent, RouteChunk, WaypointData } from './events.js';
import type { Flight } from './flight.js';
import { CreateFlight, createFlight } from './flight/create-flight.js';
import { DeleteFlight, deleteFlight } from './flight/delete-flight.js';
import { UpdateFlight, updateFlight } from './flight/update-flight.js';
import { SaveFrameResult, saveFrameResult, type FrameResult } from './frames/save-frame-result.js';
import { SaveFrameResults, saveFrameResults } from './frames/save-frame-results.js';
import { AddGeofence, addGeofence } from './geofences/add-geofence.js';
import { RemoveGeofence, removeGeofence } from './geofences/remove-geofence.js';
import { UpdateGeofence, updateGeofence } from './geofences/update-geofence.js';
import { SaveHeading, saveHeading } from './headings/save-heading.js';
import { RemoveImage, removeImage } from './images/remove-image.js';
import { SaveImageMetadata, saveImageMetadata } from './images/save-image-metadata.js';
import { SaveFlightState, saveFlightState } from './processing-state/save-flight-state.js';
import { DeleteChunk, deleteChunk } from './route-chunks/delete-chunk.js';
import { MergeChunk, mergeChunk } from './route-chunks/merge-chunk.js';
import { SaveChunkState, saveChunkState } from './route-chunks/save-chunk-state.js';
import { created, event, given, NOW } from './testing/given.js';
import { transact } from './context.js';
import { Transact } from './transact.js';
import { AddWaypoint, addWaypoint } from './waypoints/add-waypoint.js';
import { UpdateWaypoint, updateWaypoint } from './waypoints/update-waypoint.js';
import { UpdateWaypoints, updateWaypoints } from './waypoints/update-waypoints.js';
import type { Waypoint } from './waypoints/waypoint.js';

const LATER = '2026-05-01T12:00:05.000Z';
const flightId = 'f';

const deciding =
  <C extends FlightCommand>({ decide }: Pick<Slice<C>, 'decide'>, command: C, at = NOW) =>
  (flight: Flight) =>
    decide(command, flight, { at, reads: {} });

const waypoint = (id: string, changes: Partial<WaypointData> = {}): WaypointData => ({
  id,
  lat: 63.4,
  lon: 10.4,
  altitude: 100,
  confidence: 0.5,
  timestamp: NOW,
  refined: false,
  ...changes,
});
const frame = (frameId: number, changes: Partial<FrameResult> = {}): FrameResult => ({
  frameId,
  gpsCenter: { lat: 63.4, lon: 10.4 },
  altitude: 120,
  heading: 90,
  confidence: 0.5,
  refined: false,
  timestamp: NOW,
  ...changes,
});
const saved = (f: FrameResult, more: object = {}) =>
  event('FrameResultSaved', { updatedAt: NOW, ...f, ...more } as never);
const chunk = (chunkId: string, changes: Partial<RouteChunk> = {}): RouteChunk => ({
  chunkId,
  startFrameId: 0,
  endFrameId: 2,
  frames: [0, 1, 2],
  isActive: false,
  hasAnchor: false,
  anchorFrameId: null,
  anchorGps: null,
  matchingStatus: 'unanchored',
  createdAt: NOW,
  updatedAt: NOW,
  ...changes,
});
const handle = ({ createdAt: _c, updatedAt: _u, ...rest }: RouteChunk) => rest;
const image = (frameId: number) =>
  event('ImageMetadataSaved', { frameId, filePath: 'p', metadata: {}, uploadedAt: NOW });
const fence = { id: 'g', northWest: { lat: 64, lon: 10 }, southEast: { lat: 63, lon: 11 } };

describe('a flight', () => {
  const wanted = { id: flightId, name: 'Test', startGps: { lat: 63.4, lon: 10.4 }, altitude: 120 };
  const creating = (more: object = {}) =>
    deciding(createFlight, new CreateFlight({ flight: { ...wanted, ...more } }));
  const initialState = event('FlightStateSaved', {
    status: 'created',
    framesProcessed: 0,
    framesTotal: 0,
    currentFrame: null,
    blocked: false,
    searchGridSize: null,
    createdAt: NOW,
    updatedAt: NOW,
  });

  it('is created with its route, its geofences and an initial state', () =>
    given()
      .when(creating({ waypoints: [waypoint('w1')], geofences: [fence] }))
      .then(created, event('GeofenceAdded', fence), event('WaypointAdded', waypoint('w1')), initialState));
  it('cannot be created twice', () => given(created).when(creating()).thenRefused('flight.already-exists'));
  it('cannot be created with one waypoint id twice', () =>
    given()
      .when(creating({ waypoints: [waypoint('w1'), waypoint('w1')] }))
      .thenRefused('waypoint.already-exists'));
  it('can be created again after it was deleted', () =>
    given(created, event('WaypointAdded', waypoint('w1')), event('FlightDeleted', {}))
      .when(creating())
      .then(created, initialState));
  it('keeps its times from another system', () =>
    given()
      .when(creating({ createdAt: '2020-01-01T01:00:00+01:00' }))
      .then(
        {
          ...created,
          data: {
            ...created.data,
            createdAt: '2020-01-01T00:00:00.000Z',
            updatedAt: '2020-01-01T00:00:00.000Z',
          },
        } as FlightEvent,
        {
          ...initialState,
          data: {
            ...initialState.data,
            createdAt: '2020-01-01T00:00:00.000Z',
            updatedAt: '2020-01-01T00:00:00.000Z',
          },
        } as FlightEvent,
      ));

  const renaming = (changes: object) =>
    deciding(updateFlight, new UpdateFlight({ flightId, changes }), LATER);
  it('changes the given details and keeps the rest', () =>
    given(created)
      .when(renaming({ name: 'New' }))
      .then(
        event('FlightUpdated', {
          ...(created.data as never as object),
          name: 'New',
          updatedAt: LATER,
        } as never),
      ));
  it('does not change without new values', () =>
    given(created)
      .when(renaming({ name: 'Test', altitude: 120 }))
      .thenNothing());
  it('cannot change before it exists', () =>
    given()
      .when(renaming({ name: 'x' }))
      .thenRefused('flight.not-found'));

  it('is deleted once', () => {
    const deleting = deciding(deleteFlight, new DeleteFlight({ flightId }));
    given(created).when(deleting).then(event('FlightDeleted', {}));
    given(created, event('FlightDeleted', {})).when(deleting).thenRefused('flight.not-found');
  });
});

describe('waypoints', () => {
  const adding = (w: Waypoint) => deciding(addWaypoint, new AddWaypoint({ flightId, waypoint: w }));
  const updating = (w: Waypoint) => deciding(updateWaypoint, new UpdateWaypoint({ flightId, waypoint: w }));
  const w1 = event('WaypointAdded', waypoint('w1'));

  it('are added once', () => {
    given(created)
      .when(adding(waypoint('w1')))
      .then(w1);
    given(created, w1)
      .when(adding(waypoint('w1')))
      .thenRefused('waypoint.already-exists');
    given()
      .when(adding(waypoint('w1')))
      .thenRefused('flight.not-found');
  });
  it('are updated when they are known', () => {
    given(created, w1)
      .when(updating(waypoint('w1', { lat: 1 })))
      .then(event('WaypointUpdated', waypoint('w1', { lat: 1 })));
    given(created)
      .when(updating(waypoint('w9')))
      .thenRefused('waypoint.not-found');
  });
  it('record nothing when nothing changes', () =>
    given(created, w1)
      .when(updating(waypoint('w1')))
      .thenNothing());
  it('keep their time in one form, whatever its zone was', () =>
    given(created, w1)
      .when(updating(waypoint('w1', { timestamp: '2026-05-01T14:00:00+02:00' })))
      .thenNothing());

  const batch = (...all: Waypoint[]) =>
    deciding(updateWaypoints, new UpdateWaypoints({ flightId, waypoints: all }));
  it('can be updated many at once; unknown ones are named', () => {
    const change = given(created, w1).when(
      batch(waypoint('w9'), waypoint('w1', { lat: 1 }), waypoint('w1', { lat: 2 })),
    );
    change.then(event('WaypointUpdated', waypoint('w1', { lat: 2 })));
    change.thenAnswer({ success: false, updatedCount: 2, failedIds: ['w9'] });
  });
  it('are updated all or none if requested', () => {
    const waypoints = [waypoint('w1', { lat: 1 }), waypoint('w9')];
    const all = deciding(updateWaypoints, new UpdateWaypoints({ flightId, waypoints, allOrNone: true }));
    given(created, w1).when(all).thenRefused('waypoint.not-found');
  });
  it('count as updated even if nothing changed', () => {
    const change = given(created, w1).when(batch(waypoint('w1', { lat: 5 }), waypoint('w1')));
    change.thenNothing();
    change.thenAnswer({ success: true, updatedCount: 2, failedIds: [] });
  });
});

describe('geofences', () => {
  const known = event('GeofenceAdded', fence);
  const corners = (north: number, west: number, south: number, east: number) => ({
    id: 'g',
    northWest: { lat: north, lon: west },
    southEast: { lat: south, lon: east },
  });
  it.each([
    ['a point', corners(63, 10, 63, 10)],
    ['all the world', corners(90, -180, -90, 180)],
    ['across the antimeridian', corners(1, 179, -1, -179)],
    ['half the way round, across it', corners(1, 90, -1, -90)],
    ['half the way round', corners(1, -90, -1, 90)],
    ['around the world', corners(1, -180, -1, 180)],
  ])('can be %s', (_, geofence) =>
    given(created)
      .when(deciding(addGeofence, new AddGeofence({ flightId, geofence })))
      .then(event('GeofenceAdded', geofence)),
  );
  it.each([
    ['both', corners(63, 11, 64, 10)],
    ['latitudes', corners(63, 10, 64, 11)],
    ['longitudes', corners(64, 11, 63, 10)],
    ['longitudes, of one across the antimeridian,', corners(64, 0.5, 63, -179.4)],
    ['longitudes, of a narrow one across the antimeridian,', corners(2, -179, 1, 179)],
    ['longitudes, of a wide one across the antimeridian,', corners(2, -90, 1, 90.5)],
  ])('are refused with their %s swapped, whatever the command', (_, geofence) => {
    const refused = (field: string) => [{ field, message: expect.stringContaining('exchanged?') as string }];
    expect(badFields(AddGeofence, new AddGeofence({ flightId, geofence }))).toEqual(
      refused('geofence.southEast'),
    );
    expect(badFields(UpdateGeofence, new UpdateGeofence({ flightId, geofence }))).toEqual(
      refused('geofence.southEast'),
    );
    const flight = { name: 'f', altitude: 1, startGps: { lat: 1, lon: 1 }, geofences: [fence, geofence] };
    expect(badFields(CreateFlight, new CreateFlight({ flight }))).toEqual(
      refused('flight.geofences[1].southEast'),
    );
    const commands = [{ type: 'AddGeofence', geofence }];
    expect(() => transact.check(new Transact({ flightId, commands }))).toThrow(/exchanged\?/);
  });
  it('are added, updated and removed', () => {
    given(created)
      .when(deciding(addGeofence, new AddGeofence({ flightId, geofence: fence })))
      .then(known);
    given(created, known)
      .when(deciding(addGeofence, new AddGeofence({ flightId, geofence: fence })))
      .thenRefused('geofence.already-exists');
    const moved = { ...fence, southEast: { lat: 62, lon: 11 } };
    given(created, known)
      .when(deciding(updateGeofence, new UpdateGeofence({ flightId, geofence: moved })))
      .then(event('GeofenceUpdated', moved));
    given(created, known)
      .when(deciding(updateGeofence, new UpdateGeofence({ flightId, geofence: fence })))
      .thenNothing();
    given(created)
      .when(deciding(updateGeofence, new UpdateGeofence({ flightId, geofence: fence })))
      .thenRefused('geofence.not-found');
    const removing = deciding(removeGeofence, new RemoveGeofence({ flightId, geofenceId: 'g' }));
    given(created, known)
      .when(removing)
      .then(event('GeofenceRemoved', { id: 'g' }));
    given(created).when(removing).thenRefused('geofence.not-found');
  });
});

describe('the processing state', () => {
  const state = { status: 'processing', framesProcessed: 1, framesTotal: 2, blocked: false };
  const stored = { ...state, currentFrame: null, searchGridSize: null, createdAt: NOW, updatedAt: NOW };
  const saving = (at: string, more: object = {}) =>
    deciding(saveFlightState, new SaveFlightState({ flightId, state: { ...state, ...more } }), at);

  it('keeps when it was first saved, and knows when it last changed', () => {
    given(created).when(saving(NOW)).then(event('FlightStateSaved', stored));
    given(created, event('FlightStateSaved', stored))
      .when(saving(LATER, { framesProcessed: 2 }))
      .then(event('FlightStateSaved', { ...stored, framesProcessed: 2, updatedAt: LATER }));
  });
  it('records nothing when only time has passed', () =>
    given(created, event('FlightStateSaved', stored)).when(saving(LATER)).thenNothing());
  it('keeps the given times', () =>
    given(created)
      .when(saving(LATER, { createdAt: NOW, updatedAt: NOW }))
      .then(event('FlightStateSaved', stored)));
});

describe('frame results', () => {
  const saving = (f: FrameResult) => deciding(saveFrameResult, new SaveFrameResult({ flightId, frame: f }));

  it('are saved, and saved again when they are refined', () => {
    given(created)
      .when(saving(frame(1)))
      .then(saved(frame(1)));
    given(created, saved(frame(1)))
      .when(saving(frame(1, { refined: true })))
      .then(saved(frame(1, { refined: true })));
  });
  it('record nothing when nothing changes', () =>
    given(created, saved(frame(1)))
      .when(saving(frame(1)))
      .thenNothing());
  it('name the time that they supersede when they carry another one', () => {
    given(created, saved(frame(1)))
      .when(saving(frame(1, { timestamp: LATER })))
      .then(saved(frame(1, { timestamp: LATER }), { supersedes: NOW }));
    // And back again: what matters is the present time of the row.
    given(created, saved(frame(1)), saved(frame(1, { timestamp: LATER }), { supersedes: NOW }))
      .when(saving(frame(1)))
      .then(saved(frame(1), { supersedes: LATER }));
  });
  it('store a heading of 360 as 0', () =>
    given(created)
      .when(saving(frame(1, { heading: 360 })))
      .then(saved(frame(1, { heading: 0 }))));
  it('require a flight', () =>
    given()
      .when(saving(frame(1)))
      .thenRefused('flight.not-found'));
  it('can be saved many at once; the last of each frame counts', () => {
    const many = deciding(
      saveFrameResults,
      new SaveFrameResults({ flightId, frames: [frame(1), frame(2), frame(1, { heading: 5 })] }),
    );
    given(created)
      .when(many)
      .then(saved(frame(1, { heading: 5 })), saved(frame(2)));
    given(created).when(many).thenAnswer({ saved: 3 });
  });
});

describe('headings', () => {
  const saving = (timestamp: string, heading = 10) =>
    deciding(saveHeading, new SaveHeading({ flightId, heading: { frameId: 1, heading, timestamp } }));
  const known = event('HeadingSaved', { frameId: 1, heading: 10, timestamp: NOW });
  it('are saved, overwritten, and moved in time', () => {
    given(created).when(saving(NOW)).then(known);
    given(created, known).when(saving(NOW)).thenNothing();
    given(created, known)
      .when(saving(NOW, 360))
      .then(event('HeadingSaved', { frameId: 1, heading: 0, timestamp: NOW }));
    given(created, known)
      .when(saving(LATER))
      .then(event('HeadingSaved', { frameId: 1, heading: 10, timestamp: LATER, supersedes: NOW }));
  });
});

describe('images', () => {
  it('are saved, and record nothing when nothing changes', () => {
    const saving = deciding(
      saveImageMetadata,
      new SaveImageMetadata({ flightId, image: { frameId: 1, filePath: 'p' } }),
    );
    given(created).when(saving).then(image(1));
    given(created, image(1)).when(saving).thenNothing();
  });
  it('are removed together with anchor references of route chunks', () => {
    const anchored = chunk('c', { hasAnchor: true, anchorFrameId: 1, anchorGps: { lat: 1, lon: 2 } });
    const removing = deciding(removeImage, new RemoveImage({ flightId, frameId: 1 }), LATER);
    given(created, image(1), event('ChunkStateSaved', anchored), event('ChunkStateSaved', chunk('other')))
      .when(removing)
      .then(
        event('ImageRemoved', { frameId: 1 }),
        event('ChunkStateSaved', { ...anchored, anchorFrameId: null, updatedAt: LATER }),
      );
    given(created).when(removing).thenRefused('image.not-found');
  });
});

describe('route chunks', () => {
  const saving = (c: RouteChunk) =>
    deciding(saveChunkState, new SaveChunkState({ flightId, chunk: handle(c) }));
  const merging = (chunkId: string, into: string) =>
    deciding(mergeChunk, new MergeChunk({ flightId, chunkId, into }));
  const a = chunk('a', { frames: [0, 1, 2] });
  const b = chunk('b', { startFrameId: 2, endFrameId: 4, frames: [2, 3, 4], isActive: true });
  const anchor = {
    hasAnchor: true,
    anchorFrameId: 3,
    anchorGps: { lat: 1, lon: 2 },
    matchingStatus: 'anchored',
  };
  const known = (...chunks: RouteChunk[]) =>
    given(created, image(3), ...chunks.map((c) => event('ChunkStateSaved', c)));

  it('are saved, and record nothing when nothing changes', () => {
    given(created).when(saving(a)).then(event('ChunkStateSaved', a));
    known(a).when(saving(a)).thenNothing();
  });
  it('can be anchored only at frames whose image the flight has', () => {
    given(created)
      .when(saving(chunk('a', anchor)))
      .thenRefused('chunk.anchor-unknown-frame');
    known()
      .when(saving(chunk('a', anchor)))
      .then(event('ChunkStateSaved', chunk('a', anchor)));
  });
  it('merge: the target gains the frames, and stays active while one of them is', () =>
    known(a, b)
      .when(merging('b', 'a'))
      .then(
        event('ChunkMerged', {
          chunkId: 'b',
          into: chunk('a', { endFrameId: 4, frames: [0, 1, 2, 3, 4], isActive: true }),
        }),
      ));
  it('merge: the target gets the anchor of the source if it has none', () =>
    known(a, { ...b, ...anchor })
      .when(merging('b', 'a'))
      .then(
        event('ChunkMerged', {
          chunkId: 'b',
          into: chunk('a', { endFrameId: 4, frames: [0, 1, 2, 3, 4], isActive: true, ...anchor }),
        }),
      ));
  it('merge: the target keeps its own anchor', () => {
    const own = { ...anchor, anchorGps: { lat: 9, lon: 9 } };
    known({ ...a, ...own }, { ...b, ...anchor })
      .when(merging('b', 'a'))
      .then(
        event('ChunkMerged', {
          chunkId: 'b',
          into: chunk('a', { endFrameId: 4, frames: [0, 1, 2, 3, 4], isActive: true, ...own }),
        }),
      );
  });
  it('merge: an open end stays open', () =>
    known({ ...a, endFrameId: null }, b)
      .when(merging('b', 'a'))
      .then(
        event('ChunkMerged', {
          chunkId: 'b',
          into: chunk('a', { endFrameId: null, frames: [0, 1, 2, 3, 4], isActive: true }),
        }),
      ));
  it('merge only if both exist and differ', () => {
    known(a).when(merging('b', 'a')).thenRefused('chunk.not-found');
    known(a).when(merging('a', 'b')).thenRefused('chunk.not-found');
    known(a).when(merging('a', 'a')).thenRefused('chunk.merge-into-itself');
  });
  it('merge up to as many frames as a chunk can have', () => {
    const of = (from: number, howMany: number) => Array.from({ length: howMany }, (_, n) => from + n);
    const half = { ...a, frames: of(0, 10_000) };
    known(half, { ...b, frames: of(10_000, 10_000) })
      .when(merging('b', 'a'))
      .thenAnswer({});
    known(half, { ...b, frames: of(10_000, 10_001) })
      .when(merging('b', 'a'))
      .thenRefused('chunk.too-many-frames');
  });
  it('are deleted once', () => {
    const deleting = deciding(deleteChunk, new DeleteChunk({ flightId, chunkId: 'a' }));
    known(a)
      .when(deleting)
      .then(event('ChunkDeleted', { chunkId: 'a' }));
    known().when(deleting).thenRefused('chunk.not-found');
  });
});

describe('a transaction', () => {
  const transacting = (...commands: { type: string; [field: string]: unknown }[]) =>
    deciding(transact, new Transact({ flightId, commands }));
  const w1 = event('WaypointAdded', waypoint('w1'));

  it('names bad commands, whatever their number of fields, up to the limit of an answer', () => {
    const wide = Object.fromEntries(Array.from({ length: 51 }, (_, n) => [`x${n}`, 0]));
    const refused = (commands: readonly object[]) => {
      try {
        transact.check(new Transact({ flightId, commands: commands as { type: string }[] }));
      } catch (error) {
        return (error as WaylogError).data['errors'] as { field: string; message: string }[];
      }
      return [];
    };
    expect(refused([{ type: 'DeleteFlight', ...wide }])).toEqual([
      { field: 'commands[0]', message: 'has more than 50 fields' },
    ]);
    let looks = 0;
    const bad = Array.from({ length: 200 }, () => ({
      get type() {
        looks++;
        return 'Nothing';
      },
    }));
    expect(refused(bad)).toHaveLength(50);
    expect(looks).toBeLessThan(60);
  });

  it('shows each command the effects of those before it', () =>
    given(created)
      .when(
        transacting(
          { type: 'AddWaypoint', waypoint: waypoint('w1') },
          { type: 'UpdateWaypoint', waypoint: waypoint('w1', { lat: 1 }) },
        ),
      )
      .then(w1, event('WaypointUpdated', waypoint('w1', { lat: 1 }))));
  it('is refused as a whole if one of its commands is', () =>
    given(created)
      .when(
        transacting(
          { type: 'AddWaypoint', waypoint: waypoint('w1') },
          { type: 'AddWaypoint', waypoint: waypoint('w1') },
        ),
      )
      .thenRefused('waypoint.already-exists'));
  it('leaves the state that it was tried on unchanged', () => {
    const history = [created, w1];
    const decide = transacting({ type: 'DeleteFlight' }, { type: 'DeleteFlight' });
    given(...history)
      .when(decide)
      .thenRefused('flight.not-found');
    given(...history)
      .when(transacting({ type: 'UpdateWaypoint', waypoint: waypoint('w1') }))
      .thenNothing();
  });
  describe('limits what is recorded together', () => {
    const frames = Array.from({ length: 20_000 }, (_, i) => i);
    const many = <T>(howMany: number, one: (n: number) => T) =>
      Array.from({ length: howMany }, (_, n) => one(n));
    const saving = (howMany: number) =>
      transacting(
        ...many(howMany, (n) => ({ type: 'SaveChunkState', chunk: handle(chunk(`${n}`, { frames })) })),
      );

    it('by the size of what was sent', () => {
      given(created)
        .when(saving(12))
        .thenAnswer({ results: many(12, () => ({})) });
      given(created).when(saving(13)).thenRefused('transaction.too-much');
    });
    // Each command is a few words, and its event holds everything about its subject.
    it('by the size of a flight, of which each command changes little', () => {
      const { data } = created as Extract<FlightEvent, { type: 'FlightCreated' }>;
      const renaming = transacting(
        ...many(1_000, (n) => ({ type: 'UpdateFlight', changes: { name: `${n}` } })),
      );
      given(created)
        .when(renaming)
        .thenAnswer({ results: many(1_000, () => ({})) });
      given(created, event('FlightUpdated', { ...data, description: 'x'.repeat(10_000) }))
        .when(renaming)
        .thenRefused('transaction.too-much');
    });
    it('by the size of a route chunk, into which many are merged', () =>
      given(
        created,
        event('ChunkStateSaved', chunk('all', { frames: frames.slice(0, 10_000) })),
        ...many(100, (n) => event('ChunkStateSaved', chunk(`${n}`, { frames: [n] }))),
      )
        .when(transacting(...many(100, (n) => ({ type: 'MergeChunk', chunkId: `${n}`, into: 'all' }))))
        .thenRefused('transaction.too-much'));
  });
  it('names every bad field of every command', () => {
    expect(
      transacting(
        { type: 'Transact', commands: [] },
        { type: 'SaveHeading', heading: { frameId: -1 } },
        { type: 'DeleteChunk', flightId: 'x' },
      ),
    ).toThrow(
      /commands\[0\]\.type must be one of .*commands\[1\]\.heading\.heading is missing.*commands\[1\]\.heading\.frameId must be at least 0.*commands\[2\]\.flightId/s,
    );
  });
});
