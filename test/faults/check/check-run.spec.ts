import type { Read, Write } from '../history.js';
import { checkRun, isClean, type Verdict } from './check-run.js';
import type { Evidence, LogEvent } from './evidence.js';
import { foldTables } from './fold.js';

/**
 * A small run that went well: a flight with a waypoint that is moved twice, a refused and an unknown command, reads.
 */
function aGoodRun() {
  let position = 0n;
  const revisions = new Map<string, number>();
  const events: LogEvent[] = [];
  const record = (flight: string, type: string, commandId: string, data: object) => {
    const streamId = `flight-${flight}`;
    const revision = (revisions.get(streamId) ?? -1) + 1;
    revisions.set(streamId, revision);
    events.push({
      position: ++position,
      streamId,
      revision,
      id: `event ${position}`,
      type,
      commandId,
      data,
      recordedAt: 0,
    });
  };
  const aFlight = { startGps: { lat: 1, lon: 2 }, altitude: 120 };
  const waypoint = (lat: number) => ({
    ...{ id: 'w', lat, lon: 1, altitude: 2, confidence: 0.5 },
    ...{ timestamp: '2026-05-01T12:00:00.000Z', refined: false },
  });
  record('f', 'FlightCreated', 'create', aFlight);
  record('f', 'WaypointAdded', 'create', waypoint(1));
  record('g', 'FlightCreated', 'create g', aFlight);
  record('f', 'WaypointUpdated', 'move 2', waypoint(2));
  record('f', 'WaypointUpdated', 'move 3', waypoint(3));
  record('f', 'HeadingSaved', 'unknown', { frameId: 4, heading: 5, timestamp: '2026-05-01T12:00:00.000Z' });
  const write = (n: number, commandId: string, flightId: string, more: Partial<Write>): Write => ({
    ...{ kind: 'write', id: n, client: 'a', name: 'write', attempts: 1, events: 1, outcome: 'acknowledged' },
    ...{ flightId, commandId, invoked: n * 10, ended: n * 10 + 5 },
    ...more,
  });
  const writes: Write[] = [
    write(1, 'create', 'f', { events: 2, revision: 1, position: '2' }),
    write(2, 'create g', 'g', { revision: 0, position: '3' }),
    write(3, 'move 2', 'f', { revision: 2, position: '4' }),
    write(4, 'refused', 'f', { outcome: 'refused' }),
    write(5, 'move 3', 'f', { revision: 3, position: '5' }),
    write(6, 'unknown', 'f', { outcome: 'unknown' }),
    write(7, 'unknown too', 'f', { outcome: 'unknown' }),
  ];
  const read = (n: number, value: number | null, minPosition?: string): Read => ({
    ...{ kind: 'read', id: 100 + n, client: 'b', name: 'read', attempts: 1, flightId: 'f' },
    ...{ key: 'waypoint f w', value, invoked: n * 10, ended: n * 10 + 5 },
    ...(minPosition !== undefined && { minPosition }),
  });
  const reads: Read[] = [
    read(0, null),
    read(1, 1, '2'),
    read(3, 2, '3'),
    read(4, 2, '4'),
    read(5, 3, '4'),
    read(6, 3, '5'),
  ];
  const tables = foldTables(events) as Record<keyof Evidence['tables'], Map<string, string>>;
  return { writes, reads, evidence: { events, tables, parked: [] as string[], findings: [] as string[] } };
}

type Run = ReturnType<typeof aGoodRun>;
const check = ({ writes, reads, evidence }: Run) => checkRun({ writes, reads }, evidence);

/** The findings after one thing has been made wrong. */
function found(spoil: (run: Run) => void): (keyof Verdict)[] {
  const run = aGoodRun();
  spoil(run);
  const verdict = check(run);
  return (Object.keys(verdict) as (keyof Verdict)[]).filter((kind) => verdict[kind].length > 0).sort();
}
const patch = <T>(list: T[], i: number, change: Partial<T>) => list.splice(i, 1, { ...list[i]!, ...change });

describe('the checker of runs', () => {
  it('finds nothing in a run that went well', () => {
    expect(isClean(check(aGoodRun()))).toBe(true);
    expect(found(() => undefined)).toEqual([]);
  });

  it('finds an acknowledged command that the log lacks', () => {
    expect(found(({ evidence }) => void evidence.events.splice(4, 1))).toEqual([
      ...['gaps', 'lost', 'stale', 'wrongRows'],
    ]);
    // Also if the log has closed the gap after it.
    expect(
      found(({ writes }) =>
        writes.push({
          ...writes[4]!,
          commandId: 'never',
          invoked: 80,
          ended: 81,
          revision: 6,
          position: '7',
        }),
      ),
    ).toEqual(['lost']);
  });

  it('finds half of a command', () => {
    expect(found(({ writes }) => patch(writes, 0, { events: 3 }))).toEqual(['lost']);
    expect(found(({ writes }) => patch(writes, 5, { events: 2 }))).toEqual(['misplaced']);
  });

  it('finds a command that is in the log twice, in one flight or in two', () => {
    expect(
      found(({ evidence: { events } }) =>
        events.push({ ...events[5]!, position: 7n, revision: 5, id: 'another' }),
      ),
    ).toEqual(['doubled']);
    expect(
      found(({ evidence: { events } }) => patch(events, 2, { streamId: 'flight-f', commandId: 'create' })),
    ).toEqual(expect.arrayContaining(['doubled', 'lost']));
  });

  it('finds an event that is in the log twice', () => {
    expect(found(({ evidence: { events } }) => patch(events, 3, { id: 'event 1' }))).toEqual(['gaps']);
  });

  it('finds a recorded command that was refused, or never sent', () => {
    expect(found(({ writes }) => patch(writes, 5, { outcome: 'refused' }))).toEqual(['uninvited']);
    expect(found(({ writes }) => writes.splice(5, 1))).toEqual(['uninvited']);
  });

  it('finds an acknowledgement with a wrong revision or position', () => {
    expect(found(({ writes }) => patch(writes, 4, { position: '6' }))).toEqual(['misplaced']);
    expect(found(({ writes }) => patch(writes, 4, { revision: 4 }))).toEqual(['misplaced']);
    expect(found(({ writes }) => patch(writes, 1, { flightId: 'h' }))).toEqual(['misplaced']);
  });

  it('finds gaps in revisions and positions', () => {
    expect(found(({ evidence: { events } }) => patch(events, 5, { position: 8n }))).toEqual(['gaps']);
    expect(found(({ evidence: { events } }) => patch(events, 5, { revision: 7 }))).toEqual(['gaps']);
  });

  it('finds two commands in another order than that of their acknowledgements', () => {
    const swap = ({ writes, evidence: { events } }: Run) => {
      patch(writes, 2, { revision: 3, position: '5' });
      patch(writes, 4, { revision: 2, position: '4' });
      patch(events, 3, { commandId: 'move 3' });
      patch(events, 4, { commandId: 'move 2' });
    };
    expect(found(swap)).toEqual(['disorder']);
    // Concurrent commands have no order to keep.
    expect(
      found((run) => {
        swap(run);
        patch(run.writes, 2, { ended: 60 });
      }),
    ).toEqual([]);
  });

  it('finds positions in another order than that of the acknowledgements, also of two flights', () => {
    expect(found(({ writes }) => patch(writes, 1, { invoked: 60, ended: 65 }))).toEqual(['disorder']);
  });

  it('finds reads that are older than asked for', () => {
    expect(found(({ reads }) => patch(reads, 3, { value: 1, minPosition: '4' }))).toEqual(['stale']);
    expect(found(({ reads }) => patch(reads, 1, { value: null }))).toEqual(['stale']);
  });

  it('finds reads that go back, even without a minimum position', () =>
    expect(
      found(({ reads }) => {
        patch(reads, 5, { value: 2 });
        delete (reads[5] as { minPosition?: string }).minPosition;
      }),
    ).toEqual(['stale']));

  it('finds a read of something that was never written', () =>
    expect(found(({ reads }) => patch(reads, 5, { value: 99 }))).toEqual(['stale']));

  it('finds rows that are wrong, missing or too many', () => {
    expect(found(({ evidence: { tables } }) => tables.waypoints.set('f w', '["f","w",2]'))).toEqual([
      'wrongRows',
    ]);
    expect(found(({ evidence: { tables } }) => tables.heading_history.delete('f 4'))).toEqual(['wrongRows']);
    expect(found(({ evidence: { tables } }) => tables.flights.set('h', '["h","H",1]'))).toEqual([
      'wrongRows',
    ]);
  });

  it("includes what Waylog's own verification reports", () => {
    expect(found(({ evidence }) => evidence.parked.push('flight-f'))).toEqual(['complaints']);
    expect(found(({ evidence }) => evidence.findings.push('{}'))).toEqual(['complaints']);
  });
});
