import type { DigestStatement } from './digest.js';
import { nextLap, SEGMENT } from './lap.js';

const DAY = 86_400_000;
const EVENTS = 1_000 * SEGMENT;

describe('the lap through signed events', () => {
  /** When the events of each digest were last walked, as digests are taken repeatedly. */
  function walked(days: number, roundMs: number, everyMs: number, grownPerDigest: number) {
    const start = Date.parse('2026-01-01T00:00:00Z');
    const positions = Array.from({ length: EVENTS / SEGMENT }, (_, i) => (i + 1) * SEGMENT);
    const at = positions.map(() => start);
    const began = new Date(start).toISOString();
    let last: DigestStatement = {
      format: 'waylog digest 2',
      number: positions.length,
      takenAt: began,
      position: String(EVENTS),
      streams: 1,
      heads: '',
      previous: null,
      walk: { digest: positions.length, began, since: began },
    };
    let oldest = 0;
    let most = 0;
    let claimed = true;
    for (let now = start + everyMs; now <= start + days * DAY; now += everyMs) {
      const lap = nextLap(last, { now: new Date(now), roundMs, lastBreak: 0, all: BigInt(last.position) });
      const begin = lap.from === 0 ? 0 : (positions[lap.from - 1] as number);
      let through = lap.from;
      while (
        through < positions.length &&
        !(through >= lap.atLeast && (positions[through - 1] ?? 0) >= begin + Number(lap.events))
      )
        at[through++] = now;
      most = Math.max(most, ((positions[through - 1] ?? 0) - begin) / (positions.at(-1) as number));
      oldest = Math.max(oldest, ...at.map((time) => now - time));
      const isWhole = through === positions.length;
      positions.push((positions.at(-1) as number) + grownPerDigest);
      at.push(now);
      const number = positions.length;
      const walk = { ...lap.walk, digest: isWhole ? number : through };
      claimed &&= at.every((time) => time >= Date.parse(walk.since));
      last = {
        format: 'waylog digest 2',
        number,
        takenAt: new Date(now).toISOString(),
        position: String(positions.at(-1)),
        streams: 1,
        heads: '',
        previous: null,
        walk,
      };
    }
    return { oldest, most, claimed };
  }

  it.each([
    ['a digest a day', DAY],
    ['a digest an hour', DAY / 24],
  ])('walks every event within the round, in parts, with %s', (_, everyMs) => {
    const { oldest, most, claimed } = walked(
      60,
      30 * DAY,
      everyMs,
      Math.round((EVENTS / 50) * (everyMs / DAY)),
    );
    expect(oldest).toBeLessThanOrEqual(30 * DAY);
    expect(claimed).toBe(true);
    expect(most).toBeLessThan(0.25);
  });

  it('walks everything after a server was down for longer than the round', () => {
    const said: DigestStatement = {
      format: 'waylog digest 2',
      number: 9,
      takenAt: '2026-01-01T00:00:00.000Z',
      position: String(EVENTS),
      streams: 1,
      heads: '',
      previous: null,
      walk: { digest: 4, began: '2025-12-30T00:00:00.000Z', since: '2025-12-28T00:00:00.000Z' },
    };
    const at = (day: string) =>
      nextLap(said, {
        now: new Date(day),
        roundMs: 7 * DAY,
        lastBreak: 0,
        all: BigInt(said.position),
      });
    expect(at('2026-01-09T00:00:00Z')).toMatchObject({ from: 0, atLeast: 9, events: BigInt(EVENTS) });
    // A lap that has taken half of the round is completed.
    expect(at('2026-01-03T00:00:00Z')).toMatchObject({ from: 4, atLeast: 9 });
    expect(at('2026-01-01T12:00:00Z')).toMatchObject({
      from: 4,
      atLeast: 0,
      walk: { since: '2025-12-28T00:00:00.000Z' },
    });
  });

  it('walks from the beginning through a known break: the heads before it may be part of it', () => {
    const said: DigestStatement = {
      format: 'waylog digest 2',
      number: 9,
      takenAt: '2026-01-01T00:00:00.000Z',
      position: String(EVENTS),
      streams: 1,
      heads: '',
      previous: null,
      walk: { digest: 9, began: '2025-12-30T00:00:00.000Z', since: '2025-12-28T00:00:00.000Z' },
    };
    const lap = nextLap(said, {
      now: new Date('2026-01-01T01:00:00Z'),
      roundMs: 7 * DAY,
      lastBreak: 6,
      all: BigInt(said.position),
    });
    expect(lap).toMatchObject({ from: 0, atLeast: 6, walk: { since: '2025-12-30T00:00:00.000Z' } });
  });
});
