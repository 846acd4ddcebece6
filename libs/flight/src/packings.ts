import type { Packing } from '#lib/event-store';
import { microsecondsOf, timestampAt } from '#lib/platform';
import type { FrameData, HeadingData } from './events.js';

// Frames and headings are what a flight has thousands of: as numbers they take a third of the memory.

export const framePacking: Packing<FrameData> = {
  width: 8,
  write: ({ gpsCenter, altitude, heading, confidence, refined, timestamp, updatedAt }, to, at) => {
    to[at] = gpsCenter.lat;
    to[at + 1] = gpsCenter.lon;
    to[at + 2] = altitude;
    to[at + 3] = heading;
    to[at + 4] = confidence;
    to[at + 5] = refined ? 1 : 0;
    to[at + 6] = microsecondsOf(timestamp);
    to[at + 7] = microsecondsOf(updatedAt);
  },
  read: (frameId, from, at) => ({
    frameId,
    gpsCenter: { lat: from[at] as number, lon: from[at + 1] as number },
    altitude: from[at + 2] as number,
    heading: from[at + 3] as number,
    confidence: from[at + 4] as number,
    refined: from[at + 5] === 1,
    timestamp: timestampAt(from[at + 6] as number),
    updatedAt: timestampAt(from[at + 7] as number),
  }),
};

export const headingPacking: Packing<HeadingData> = {
  width: 2,
  write: ({ heading, timestamp }, to, at) => {
    to[at] = heading;
    to[at + 1] = microsecondsOf(timestamp);
  },
  read: (frameId, from, at) => ({
    frameId,
    heading: from[at] as number,
    timestamp: timestampAt(from[at + 1] as number),
  }),
};
