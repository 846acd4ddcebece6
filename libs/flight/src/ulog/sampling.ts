import { longitudeBetween, rounded, turned } from './geo.js';
import type { Heading } from './headings.js';
import { confidenceOf, type Position } from './positions.js';
import { MAX_GAP_SECONDS } from './tidy.js';

const SECOND = 1e6;
const MAX_GAP = MAX_GAP_SECONDS * SECOND;

/** A time without positions, microseconds since boot. */
export interface Gap {
  readonly from: number;
  readonly to: number;
}

/** The aircraft at one moment. */
export interface Sample {
  /** Microseconds since boot. */
  readonly time: number;
  readonly lat: number;
  readonly lon: number;
  readonly altitude: number;
  readonly heading: number;
  readonly confidence: number;
}

export interface Sampled {
  readonly samples: readonly Sample[];
  readonly gaps: readonly Gap[];
  /** How many samples lie between the same two positions as the one before: made up, for there were no positions for them. */
  readonly madeUp: number;
  /** How many samples took a heading from further away than the longest gap, because there was none nearer. */
  readonly headingsHeld: number;
  /** How many samples have the confidence of an unknown accuracy. */
  readonly accuracyUnknown: number;
}

/** How many samples there can be at most, before they are made. */
export const sampleCount = (positions: readonly Position[], rate: number): number =>
  Math.floor((((positions.at(-1)?.time ?? 0) - (positions[0]?.time ?? 0)) / SECOND) * rate) + 1;

/**
 * Samples positions and headings `rate` times a second. Both are interpolated in a straight line between neighbours, the
 * heading the short way around. Nothing is made up across a gap: sampling stops there and goes on behind it.
 */
export function sample(positions: readonly Position[], headings: readonly Heading[], rate: number): Sampled {
  const step = SECOND / rate;
  const samples: Sample[] = [];
  const gaps: Gap[] = [];
  const headingAt = headingLookup(headings);
  let headingsHeld = 0;
  let accuracyUnknown = 0;
  let madeUp = 0;
  const take = (a: Position, b: Position, time: number) => {
    const part = b.time > a.time ? (time - a.time) / (b.time - a.time) : 0;
    const heading = headingAt(time);
    const eph = (part < 0.5 ? a : b).eph;
    if (heading.held) headingsHeld += 1;
    if (!(eph > 0)) accuracyUnknown += 1;
    samples.push({
      time,
      // A millimetre, a millimetre and a thousandth of a degree: below that there is only noise.
      lat: rounded(a.lat + (b.lat - a.lat) * part, 8),
      lon: rounded(longitudeBetween(a.lon, b.lon, part), 8),
      altitude: rounded(a.altitude + (b.altitude - a.altitude) * part, 3),
      heading: rounded(heading.degrees, 3) % 360,
      confidence: rounded(confidenceOf(eph), 4),
    });
  };

  // Moments are counted from the beginning of a segment, so that rounding does not add up.
  let segment = positions[0]?.time ?? 0;
  let count = 0;
  for (const [i, a] of positions.entries()) {
    const b = positions[i + 1] ?? a;
    const joined = b !== a && b.time - a.time <= MAX_GAP;
    const before = samples.length;
    while (segment + count * step < b.time && (joined || segment + count * step <= a.time)) {
      take(a, joined ? b : a, segment + count * step);
      count += 1;
    }
    madeUp += Math.max(0, samples.length - before - 1);
    if (b === a && segment + count * step <= a.time) take(a, a, segment + count * step);
    if (b !== a && !joined) {
      gaps.push({ from: a.time, to: b.time });
      segment = Math.max(b.time, segment + count * step);
      count = 0;
    }
  }
  return { samples, gaps, madeUp, headingsHeld, accuracyUnknown };
}

/** Answers headings for times that only go forward. */
function headingLookup(headings: readonly Heading[]): (time: number) => { degrees: number; held: boolean } {
  let i = 0;
  return (time) => {
    while (i + 1 < headings.length && (headings[i + 1]?.time ?? Infinity) <= time) i += 1;
    const before = headings[i];
    if (!before) return { degrees: 0, held: true };
    const after = headings[i + 1];
    if (after && time >= before.time && after.time - before.time <= MAX_GAP) {
      const part = (time - before.time) / (after.time - before.time);
      return { degrees: turned(before.degrees, after.degrees, part), held: false };
    }
    const nearest = after && after.time - time < Math.abs(time - before.time) ? after : before;
    return { degrees: nearest.degrees, held: Math.abs(time - nearest.time) > MAX_GAP };
  };
}
