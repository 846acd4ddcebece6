import { PackedMap } from '#lib/event-store';
import fc from 'fast-check';
import type { FrameData, HeadingData } from './events.js';
import { flightDecider, noFlight } from './flight.js';
import { framePacking, headingPacking } from './packings.js';

const number = fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => (n === 0 ? 0 : n));
const time = fc
  .tuple(
    fc.integer({ min: 0, max: 7_200_000_000 }),
    fc.oneof(
      fc.nat(999_999),
      fc.nat(999).map((ms) => ms * 1_000),
    ),
  )
  .map(([seconds, micros]) => {
    const digits = String(micros).padStart(6, '0');
    const fraction = digits.endsWith('000') ? digits.slice(0, 3) : digits;
    return `${new Date(seconds * 1_000).toISOString().slice(0, 19)}.${fraction}Z`;
  });
const frame: fc.Arbitrary<FrameData> = fc.record(
  {
    frameId: fc.nat(),
    gpsCenter: fc.record({ lat: number, lon: number }, { noNullPrototype: true }),
    altitude: number,
    heading: number,
    confidence: number,
    refined: fc.boolean(),
    timestamp: time,
    updatedAt: time,
  },
  { noNullPrototype: true },
);
const heading: fc.Arbitrary<HeadingData> = fc.record(
  { frameId: fc.nat(), heading: number, timestamp: time },
  { noNullPrototype: true },
);

describe('the stored form of frames and headings in decisions', () => {
  it('restores them exactly, to the last bit and microsecond, from numbers alone', () => {
    fc.assert(
      fc.property(frame, heading, (frame, heading) => {
        const frames = new PackedMap(framePacking, [[frame.frameId, frame]]);
        const headings = new PackedMap(headingPacking, [[heading.frameId, heading]]);
        expect(frames.get(frame.frameId)).toStrictEqual(frame);
        expect(headings.get(heading.frameId)).toStrictEqual(heading);
        // A new object: if the numbers could not represent it, it would be the object itself.
        expect(frames.get(frame.frameId)).not.toBe(frame);
        expect(headings.get(heading.frameId)).not.toBe(heading);
      }),
      { numRuns: 2_000, seed: 20_261_121 },
    );
  });

  it('keeps values as they are if the log holds what no command would record', () => {
    const [known] = fc.sample(frame, { numRuns: 1, seed: 1 }) as [FrameData];
    const { frameId: _, ...nameless } = known;
    const odd = [
      { ...known, timestamp: 'yesterday' },
      { ...known, timestamp: '2026-05-01T12:00:00Z' },
      { ...known, updatedAt: '2026-05-01T12:00:00Z' },
      ...Object.keys(known).map((name) => ({ ...known, [name]: null })),
      { ...known, gpsCenter: { ...known.gpsCenter, height: 1 } },
      { ...known, gpsCenter: { lat: 1, lon: null } },
      { ...known, gpsCenter: { lat: null, lon: 1 } },
      { ...known, seen: true },
      { ...nameless, seen: true },
      {},
    ];
    for (const frame of odd as unknown as FrameData[])
      expect(new PackedMap(framePacking, [[1, frame]]).get(1)).toBe(frame);
    const [heading1] = fc.sample(heading, { numRuns: 1, seed: 1 }) as [HeadingData];
    const oddHeadings = [
      ...Object.keys(heading1).map((name) => ({ ...heading1, [name]: null })),
      { ...heading1, timestamp: '2026-05-01T12:00:00Z' },
      { ...heading1, seen: true },
      {},
    ];
    for (const record of oddHeadings as unknown as HeadingData[])
      expect(new PackedMap(headingPacking, [[1, record]]).get(1)).toBe(record);
  });

  it('is packed from the beginning, and after a snapshot', () => {
    const packed = { frames: expect.any(PackedMap), headings: expect.any(PackedMap) };
    expect(noFlight()).toMatchObject(packed);
    const [known] = fc.sample(heading, 1) as [HeadingData];
    const read = { ...noFlight(), frames: new Map(), headings: new Map([[known.frameId, known]]) };
    const flight = flightDecider.revive?.(read);
    expect(flight).toMatchObject(packed);
    expect(flight?.headings.get(known.frameId)).toEqual(known);
    expect(flight && flightDecider.sizeOf(flight)).toBeGreaterThan(0);
  });
});
