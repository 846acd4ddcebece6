import { eventsOf } from '#lib/event-store';
import { badFields } from '#lib/platform';
import { changes } from '../context.js';
import type { FlightCommand, Slice } from '../command.js';
import { CreateFlight } from '../flight/create-flight.js';
import { evolve, noFlight } from '../flight.js';
import { SaveFlightState } from '../processing-state/save-flight-state.js';
import type { ClockSource } from './clock.js';
import { datedAsBefore, ulogCommandCount, ulogCommands } from './ulog-commands.js';
import type { UlogFlight } from './ulog-flight.js';

function flightWith(
  frames: number,
  lat = 63,
  from: ClockSource = 'gps',
  begins = 1_750_000_000_000,
): UlogFlight {
  const source = {
    topic: 'vehicle_global_position',
    from: 'lat, lon, alt',
    rows: frames,
    used: frames,
    skipped: {},
  };
  const at = (i: number) => new Date(begins + i * 500).toISOString();
  return {
    startedAt: at(0),
    durationSeconds: (frames - 1) / 2,
    rate: 2,
    start: { lat, lon: 10, altitude: 100 },
    frames: Array.from({ length: frames }, (_, frameId) => ({
      frameId,
      lat,
      lon: 10,
      altitude: 100,
      heading: frameId % 360,
      confidence: 0.9,
      timestamp: at(frameId),
    })),
    waypoints: [{ lat, lon: 10, altitude: null, confidence: 1, timestamp: at(0) }],
    vehicle: { system: 'PX4', hardware: 'PX4_SITL', firmware: '1.14.0' },
    report: {
      sources: { positions: '', headings: '', confidence: '', waypoints: '', time: '' },
      file: { path: '/logs/a\u0007.ulg', bytes: 1 },
      positions: source,
      headings: source,
      confidence: '',
      waypoints: { from: 'the mission', count: 1 },
      clock: { from, how: '' },
      unused: [],
      frames,
      gaps: [],
      gapCount: 0,
      dropouts: { count: 0, milliseconds: 0 },
      damage: { places: 0, bytes: 0, cutOff: 0 },
      warnings: Array.from({ length: 100 }, () => 'w'.repeat(1_000)),
    },
  };
}

const commandsOf = (flight: UlogFlight, flightId = 'f1'): FlightCommand[] => [
  ...ulogCommands(flight, { flightId, actor: 'me' }),
];
const names = (commands: readonly FlightCommand[]) => commands.map(({ constructor }) => constructor.name);
const ids = (commands: readonly FlightCommand[]) => commands.map(({ commandId }) => commandId);

describe('the commands of an import', () => {
  it('create the flight, save its frames and headings in batches, and complete it', () => {
    const commands = commandsOf(flightWith(1_200));
    expect(names(commands)).toEqual([
      'CreateFlight',
      'SaveFlightState',
      ...['SaveFrameResults', 'SaveHeadings', 'SaveFlightState'],
      ...['SaveFrameResults', 'SaveHeadings', 'SaveFlightState'],
      ...['SaveFrameResults', 'SaveHeadings', 'SaveFlightState'],
    ]);
    const states = commands.filter((command) => command instanceof SaveFlightState).map(({ state }) => state);
    expect(
      states.map(({ status, framesProcessed, currentFrame }) => [status, framesProcessed, currentFrame]),
    ).toEqual([
      ['processing', 0, null],
      ['processing', 500, 499],
      ['processing', 1_000, 999],
      ['completed', 1_200, 1_199],
    ]);
    expect(commands[0]).toBeInstanceOf(CreateFlight);
    expect((commands[0] as CreateFlight).flight).toMatchObject({
      id: 'f1',
      name: 'PX4 PX4_SITL 2025-06-15 15:06',
      startGps: { lat: 63, lon: 10 },
      altitude: 100,
      waypoints: [{ altitude: null }],
      cameraParams: { source: 'px4-ulog', file: 'a .ulg', vehicle: { firmware: '1.14.0' } },
    });
  });

  it('pass validation, whatever the log says', () => {
    for (const command of commandsOf(flightWith(501), 'x'.repeat(128))) {
      expect(badFields(command.constructor as typeof SaveFlightState, command)).toEqual([]);
      expect(command.actor).toBe('me');
    }
  });

  it('make the flight, and change nothing when they are decided again', () => {
    let state = noFlight();
    const record = (commands: readonly FlightCommand[]) =>
      commands.flatMap((command) => {
        const slice = changes.find((change) => command instanceof change.command) as Slice<FlightCommand>;
        const events = eventsOf(slice.decide(command, state, { at: '2026-01-01T00:00:00.000Z', reads: {} }));
        for (const event of events) state = evolve(state, event);
        return events;
      });
    record(commandsOf(flightWith(1_200)));
    expect(state.frames.size).toBe(1_200);
    expect(state.headings.size).toBe(1_200);
    expect(state.waypoints.size).toBe(1);
    expect(state.processing).toMatchObject({ status: 'completed', framesProcessed: 1_200 });
    const again = commandsOf(flightWith(1_200)).filter((command) =>
      /frames|headings/.test(command.commandId ?? ''),
    );
    expect(record(again)).toEqual([]);
    expect(() => record(commandsOf(flightWith(1_200, 64)))).toThrow('There is a flight f1 already');
  });

  it.each([1, 499, 500, 501, 1_000, 1_001])(
    'are as many as ulogCommandCount says, for %d frames',
    (frames) => {
      const flight = flightWith(frames);
      expect(commandsOf(flight)).toHaveLength(ulogCommandCount(flight));
    },
  );

  it('have ids of their own that are the same the next time', () => {
    const commands = commandsOf(flightWith(1_200));
    expect(new Set(ids(commands)).size).toBe(commands.length);
    expect(ids(commandsOf(flightWith(1_200)))).toEqual(ids(commands));
    expect(ids(commands)[2]).toMatch(/^import f1 [0-9a-f]{12} frames 0$/);
  });

  it('have other ids for other content or another flight, so that nothing is mixed', () => {
    const first = new Set(ids(commandsOf(flightWith(600))));
    for (const other of [
      commandsOf(flightWith(600, 64)),
      commandsOf(flightWith(601)),
      commandsOf(flightWith(600), 'f2'),
    ]) {
      expect(ids(other).filter((id) => first.has(id))).toEqual([]);
    }
  });

  describe('from copies of a file', () => {
    const DAY = 86_400_000;
    const first = flightWith(600, 63, 'file-time');
    const [creation] = commandsOf(first);
    const earlier = {
      deletions: 0,
      creation: { commandId: creation?.commandId ?? '', startedAt: first.startedAt, clock: 'the file' },
    };
    const copies = (['file-time', 'file-path'] as const).map((from) =>
      flightWith(600, 63, from, 1_760_000_000_123 + DAY),
    );

    it('have the same ids where the log does not say when it was recorded, whatever the copies say', () => {
      for (const copy of copies) expect(ids(commandsOf(copy))).toEqual(ids(commandsOf(first)));
      expect(ids(commandsOf(flightWith(600, 63, 'log-name', 1_760_000_000_000)))).not.toEqual(
        ids(commandsOf(flightWith(600, 63, 'log-name'))),
      );
    });

    it('go on with the times that the first one had', () => {
      for (const copy of copies) {
        const flight = datedAsBefore(copy, 'f1', earlier);
        expect(flight.startedAt).toBe(first.startedAt);
        expect(flight.frames).toEqual(first.frames);
        expect(flight.waypoints).toEqual(first.waypoints);
        expect(flight.report.clock).toMatchObject({
          from: 'earlier-import',
          how: 'an earlier import of this log, by the file',
        });
        expect([...ulogCommands(flight, { flightId: 'f1', actor: 'me', earlier })]).toEqual(
          commandsOf(first).slice(1),
        );
      }
    });

    it('keep their own times where the log says them, or the flight is of another content', () => {
      for (const other of [flightWith(600, 63, 'gps', 5), flightWith(600, 64, 'file-time', 5)])
        expect(datedAsBefore(other, 'f1', earlier)).toBe(other);
    });

    it('begin anew after the flight was deleted', () => {
      const again = [...ulogCommands(first, { flightId: 'f1', earlier: { deletions: 1 } })];
      expect(names(again)).toEqual(names(commandsOf(first)));
      expect(ids(again).filter((id) => ids(commandsOf(first)).includes(id))).toEqual([]);
    });
  });
});
