import fc from 'fast-check';
import {
  DecisionStreams,
  eventsOf,
  type Decision,
  InMemoryEventStore,
  LayeredMap,
  type RecordedEvent,
} from '#lib/event-store';
import { badFields, WaylogError, type Class } from '#lib/platform';
import { MemoryTable, type Projection, type Row } from '#lib/projections';
import { changes, flightProjections, transact } from './context.js';
import type { FlightCommand, Slice } from './command.js';
import type { FlightEvent } from './events.js';
import { eraseFlight } from './flight/erase-flight.js';
import { flightDecider, noFlight, same, type Flight } from './flight.js';
import { storeImageContent } from './images/store-image-content.js';
import { Transact } from './transact.js';
import { flightCommands, flightId, madeUpJson, streamId, type Sent } from './testing/random-commands.js';

const numRuns = Number(process.env['WAYLOG_FUZZ_RUNS'] ?? 300);
const seed = Number(process.env['WAYLOG_FUZZ_SEED'] ?? 20_261_121);

type AnySlice = Slice<FlightCommand>;
const slices = new Map<string, AnySlice>(
  [...changes, storeImageContent, transact, eraseFlight].map((s) => [s.command.name, s as AnySlice]),
);

/** What the commands of these types are sent again for: with the same values they change nothing. */
const NO_NEWS = new Set([
  'UpdateFlight',
  'EraseFlight',
  'UpdateWaypoint',
  'UpdateWaypoints',
  'UpdateGeofence',
  'SaveFlightState',
  'SaveFrameResult',
  'SaveFrameResults',
  'SaveHeading',
  'SaveHeadings',
  'SaveImageMetadata',
  'StoreImageContent',
  'SaveChunkState',
]);

const time = (n: number) => new Date(Date.UTC(2026, 4, 1, 12) + n).toISOString();

function commandOf({ type, fields }: Sent): { slice: AnySlice; command: FlightCommand } {
  const slice = slices.get(type);
  if (!slice) throw new Error(`There is no command ${type}.`);
  const Command = slice.command as unknown as new (fields: object) => FlightCommand;
  const command = new Command({ flightId, ...fields });
  expect({ type, bad: badFields(slice.command as Class, command) }).toEqual({ type, bad: [] });
  return { slice, command };
}

/** The events of a decision, or undefined if it refuses. */
function decided(decide: () => Decision<FlightEvent, object, unknown>): readonly FlightEvent[] | undefined {
  try {
    return eventsOf(decide());
  } catch (error) {
    if (error instanceof WaylogError) return undefined;
    throw error;
  }
}

/** JSON with sorted names and all own properties of a value: toEqual ignores `__proto__`. */
const told = (value: unknown): string =>
  Array.isArray(value)
    ? `[${value.map(told).join()}]`
    : typeof value === 'object' && value !== null
      ? `{${Object.keys(value)
          .sort()
          .map((name) => `${JSON.stringify(name)}:${told((value as Record<string, unknown>)[name])}`)
          .join()}}`
      : JSON.stringify(value);

/** As the log stores it. */
const throughJson = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

const sorted = <K, V>(map: { entries(): Iterable<[K, V]> }) =>
  [...map.entries()].sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
const plain = ({ details, history, processing, ...maps }: Flight) =>
  throughJson({
    history,
    details: details ?? null,
    processing: processing ?? null,
    ...Object.fromEntries(
      Object.entries(maps as unknown as Record<string, LayeredMap<unknown, unknown>>).map(([name, map]) => [
        name,
        sorted(map),
      ]),
    ),
  });
const replay = (events: readonly FlightEvent[]) => events.reduce(flightDecider.evolve, noFlight());

/** Sends commands one after another to a flight that begins empty. */
function send(
  sent: readonly Sent[],
  look: (step: {
    sent: Sent;
    before: Flight;
    events: readonly FlightEvent[] | undefined;
    at: number;
  }) => void = () => undefined,
): { flight: Flight; events: FlightEvent[] } {
  let flight = noFlight();
  const events: FlightEvent[] = [];
  for (const [at, one] of sent.entries()) {
    const { slice, command } = commandOf(one);
    const found = decided(() => slice.decide(command, flight, { at: time(at), reads: {} }));
    look({ sent: one, before: flight, events: found, at });
    for (const event of found ?? []) {
      events.push(event);
      flight = flightDecider.evolve(flight, event);
    }
  }
  return { flight, events };
}

const recorded = (events: readonly FlightEvent[]): RecordedEvent[] =>
  events.map((event, revision) => ({
    ...throughJson(event),
    id: `e${revision}`,
    schemaVersion: 1,
    metadata: { commandId: 'c', command: 'C', correlationId: 'c', causationId: 'c', actor: 'a' },
    streamId,
    revision,
    position: String(revision + 1),
    recordedAt: time(revision),
  }));

function tables(events: readonly FlightEvent[]): (name: string) => Row[] {
  const all = new Map(
    flightProjections.map((projection: Projection) => {
      const table = new MemoryTable(projection.table);
      for (const event of recorded(events)) for (const change of projection.fold(event)) table.apply(change);
      return [projection.name, table.rows()];
    }),
  );
  return (name) => all.get(name) ?? [];
}

const check = <T>(property: fc.IProperty<T>): void => fc.assert(property, { numRuns, seed });
const sequences = fc.array(flightCommands, { maxLength: 40, size: 'max' });
/** Nothing can follow an erasure, so it is not among the commands in between. */
const endedSequences = fc
  .tuple(sequences, fc.boolean())
  .map(([sent, isErased]): Sent[] => (isErased ? [...sent, { type: 'EraseFlight', fields: {} }] : sent));

describe('a flight that is sent random commands', () => {
  it('accepts and refuses often enough for these tests to mean something', () => {
    const count: Record<string, number> = {};
    let refused = 0;
    check(
      fc.property(endedSequences, (sent) => {
        const { events } = send(sent, (step) => (refused += step.events ? 0 : 1));
        for (const { type } of events) count[type] = (count[type] ?? 0) + 1;
      }),
    );
    expect(Object.keys(count).sort()).toEqual(
      [...new Set(flightProjections.flatMap((p: Projection) => [...p.types]))].sort(),
    );
    expect(refused).toBeGreaterThan(numRuns);
  });

  it('has the state that its log folds to, though every event went through JSON', () =>
    check(
      fc.property(endedSequences, (sent) => {
        const { flight, events } = send(sent);
        expect(plain(replay(throughJson(events)))).toEqual(plain(flight));
      }),
    ));

  it('has the same state from memory, from a snapshot, and from a snapshot with events after it', () =>
    fc.assert(
      fc.asyncProperty(endedSequences, fc.integer({ min: 1, max: 7 }), async (sent, snapshotEvery) => {
        const warm = new InMemoryEventStore();
        const cold = new InMemoryEventStore();
        const open = (store: InMemoryEventStore) =>
          new DecisionStreams({ store, decider: flightDecider, category: 'flight', snapshotEvery });
        const inMemory = open(warm);
        for (const [at, one] of sent.entries()) {
          const { slice, command } = commandOf(one);
          const run = (streams: typeof inMemory) =>
            streams
              .change(
                flightId,
                (flight) =>
                  slice.decide(command, flight, { at: time(at), reads: {} }) as Decision<FlightEvent>,
                {
                  command: one.type,
                },
              )
              .catch((error: unknown) => {
                if (error instanceof WaylogError) return { refused: error.code };
                throw error;
              });
          const outcome = await run(inMemory);
          const process = open(cold);
          expect(await run(process)).toEqual(outcome);
          await process.drain();
        }
        const facts = async (store: InMemoryEventStore) =>
          (await store.readAll({ limit: 10_000 })).map(({ type, data }) => ({ type, data }));
        expect(await facts(cold)).toEqual(await facts(warm));
      }),
      { numRuns: Math.ceil(numRuns / 3), seed },
    ));

  it('decides without changing the state', () =>
    check(
      fc.property(endedSequences, (sent) => {
        let known = plain(noFlight());
        send(sent, ({ before, events }) => {
          expect(plain(before)).toEqual(known);
          const after = flightDecider.fork(before);
          known = plain((events ?? []).reduce(flightDecider.evolve, after));
          // A fork got the events, and the original did not change.
          if (events?.length === 0) expect(plain(before)).toEqual(known);
        });
      }),
    ));

  it('records nothing when a command is repeated, if its slice says so', () => {
    let repeats = 0;
    check(
      fc.property(endedSequences, (sent) => {
        send(sent, ({ sent: one, before, events, at }) => {
          if (!events || !NO_NEWS.has(one.type)) return;
          const after = events.reduce(flightDecider.evolve, flightDecider.fork(before));
          const { slice, command } = commandOf(one);
          repeats++;
          expect({
            one,
            again: decided(() => slice.decide(command, after, { at: time(at + 1_000_000), reads: {} })),
          }).toEqual({ one, again: [] });
        });
      }),
    );
    expect(repeats).toBeGreaterThan(numRuns);
  });

  it('has the details and the metadata of the last command, whether they changed anything or not', () => {
    let said = 0;
    check(
      fc.property(sequences, (sent) => {
        send(sent, ({ sent: one, before, events }) => {
          const changes = one.fields['changes'] as { cameraParams?: object | null } | undefined;
          const image = one.fields['image'] as { frameId: number; metadata?: object | null } | undefined;
          if (!events || (!changes?.cameraParams && !image)) return;
          const after = events.reduce(flightDecider.evolve, flightDecider.fork(before));
          said++;
          if (changes?.cameraParams)
            expect(told(after.details?.cameraParams)).toBe(told(changes.cameraParams));
          if (image) expect(told(after.images.get(image.frameId)?.metadata)).toBe(told(image.metadata ?? {}));
        });
      }),
    );
    expect(said).toBeGreaterThan(numRuns);
  });

  it('distinguishes two values by their content, and by nothing else', () => {
    let equal = 0;
    check(
      fc.property(madeUpJson, madeUpJson, (a, b) => {
        const isSame = told(a) === told(b);
        if (isSame) equal++;
        expect({ a: told(a), b: told(b), isSame: same(a, b) }).toEqual({ a: told(a), b: told(b), isSame });
        expect(same({ in: a }, { in: b })).toBe(isSame);
      }),
    );
    expect(equal).toBeGreaterThan(0);
  });

  it('holds nothing sensitive once it is erased, in its state and in its tables, and never again', () => {
    let erased = 0;
    check(
      fc.property(sequences, (sent) => {
        const { flight, events } = send([...sent, { type: 'EraseFlight', fields: {} }, ...sent]);
        if (!events.some(({ type }) => type === 'FlightErased')) return;
        erased++;
        const nothing = { name: 'erased', description: '', cameraParams: {} };
        if (flight.details) expect(flight.details).toMatchObject(nothing);
        expect([...flight.images.entries()]).toEqual([]);
        for (const row of tables(events)('flights'))
          expect(row).toMatchObject({ name: 'erased', description: '', camera_params: {} });
        expect(tables(events)('flight_images')).toEqual([]);
        const after = events.slice(events.findIndex(({ type }) => type === 'FlightErased') + 1);
        expect(new Set([...after.map(({ type }) => type), 'FlightDeleted'])).toEqual(
          new Set(['FlightDeleted']),
        );
      }),
    );
    expect(erased).toBeGreaterThan(numRuns / 2);
  });

  it('has tables that agree with its state', () =>
    check(
      fc.property(endedSequences, (sent) => {
        const { flight, events } = send(sent);
        const table = tables(events);
        const ids = (name: string, column: string) => table(name).map((row) => row[column]);
        const same = (name: string, column: string, keys: Iterable<unknown>) =>
          expect({ name, ids: ids(name, column).sort() }).toEqual({ name, ids: [...keys].sort() });
        const keys = (map: { entries(): Iterable<[unknown, unknown]> }) =>
          [...map.entries()].map(([key]) => key);
        expect(table('flights')).toHaveLength(flight.details ? 1 : 0);
        expect(table('flight_state')).toHaveLength(flight.processing ? 1 : 0);
        same('waypoints', 'id', keys(flight.waypoints));
        same('geofences', 'id', keys(flight.geofences));
        same('frame_results', 'frame_id', keys(flight.frames));
        same('heading_history', 'frame_id', keys(flight.headings));
        same('flight_images', 'frame_id', keys(flight.images));
        same('chunks', 'chunk_id', keys(flight.chunks));
        for (const row of table('frame_results')) {
          const frame = flight.frames.get(row['frame_id'] as number);
          expect([row['timestamp'], row['updated_at'], row['heading']]).toEqual([
            frame?.timestamp,
            frame?.updatedAt,
            frame?.heading,
          ]);
        }
        for (const row of table('waypoints'))
          expect(row['timestamp']).toBe(flight.waypoints.get(row['id'] as string)?.timestamp);
        const days = new Set(table('flight_days').map(({ day }) => (day as string).slice(0, 10)));
        for (const { timestamp } of [...flight.frames.values(), ...flight.headings.values()])
          expect(days).toContain(timestamp.slice(0, 10));
      }),
    ));

  it('comes to the same result in one transaction as one by one, and records nothing if one command is refused', () => {
    let whole = 0;
    let none = 0;
    const steps = fc.array(
      flightCommands.filter(({ type }) => !['Transact', 'StoreImageContent'].includes(type)),
      { minLength: 1, maxLength: 6 },
    );
    check(
      fc.property(sequences, steps, (sent, then) => {
        const { flight } = send(sent);
        let state = flightDecider.fork(flight);
        const oneByOne: FlightEvent[] = [];
        let isRefused = false;
        for (const one of then) {
          const { slice, command } = commandOf(one);
          const events = decided(() => slice.decide(command, state, { at: time(0), reads: {} }));
          if (!events) {
            isRefused = true;
            break;
          }
          oneByOne.push(...events);
          state = events.reduce(flightDecider.evolve, state);
        }
        const commands = then.map(({ type, fields }) => ({ type, ...fields }));
        const together = decided(() =>
          transact.decide(new Transact({ flightId, commands }), flight, { at: time(0), reads: {} }),
        );
        if (isRefused) none++;
        else whole++;
        expect(together).toEqual(isRefused ? undefined : oneByOne);
      }),
    );
    expect(whole).toBeGreaterThan(10);
    expect(none).toBeGreaterThan(10);
  });
});

describe('a layered map', () => {
  const change = fc.oneof(
    fc.record({ set: fc.nat(5), to: fc.nat(9) }),
    fc.record({ delete: fc.nat(5) }),
    fc.constant({ layer: true as const }),
  );
  it('equals a plain map with the same changes, however many layers there are', () =>
    check(
      fc.property(fc.array(change), (all) => {
        const model = new Map<number, number>();
        let map: LayeredMap<number, number> = new LayeredMap(new Map());
        for (const one of all) {
          if ('layer' in one) map = new LayeredMap(map);
          else if ('set' in one) {
            model.set(one.set, one.to);
            map.set(one.set, one.to);
          } else expect(map.delete(one.delete)).toBe(model.delete(one.delete));
          expect(map.size).toBe(model.size);
          for (let key = 0; key <= 5; key++)
            expect([map.has(key), map.get(key)]).toEqual([model.has(key), model.get(key)]);
          expect(sorted(map)).toEqual(sorted(model));
          expect([...map.values()].sort()).toEqual([...model.values()].sort());
        }
      }),
    ));
});
