import type { Packing } from '#lib/event-store';
import { microsecondsOf, parseTimestamp, timestampAt } from '#lib/platform';
import type { FrameData, HeadingData } from './events.js';

// A flight has thousands of frames and headings: as numbers they need a third of the memory. Decisions compare them to
// find changes, so they must come back exactly as they were, to the last bit.

const fieldsOf = (value: object): number => Object.keys(value).length;
const isNumber = (value: unknown): boolean => typeof value === 'number';
const isCanonical = (text: string): boolean => parseTimestamp(text) === text;

export const framePacking: Packing<FrameData> = {
  width: 8,
  write: (frame, to, at) => {
    const { gpsCenter, altitude, heading, confidence, refined, timestamp, updatedAt } = frame;
    const { lat, lon } = gpsCenter;
    to[at] = lat;
    to[at + 1] = lon;
    to[at + 2] = altitude;
    to[at + 3] = heading;
    to[at + 4] = confidence;
    to[at + 5] = refined ? 1 : 0;
    to[at + 6] = microsecondsOf(timestamp);
    to[at + 7] = microsecondsOf(updatedAt);
    return (
      fieldsOf(frame) === 8 &&
      fieldsOf(gpsCenter) === 2 &&
      isNumber(frame.frameId) &&
      isNumber(lat) &&
      isNumber(lon) &&
      isNumber(altitude) &&
      isNumber(heading) &&
      isNumber(confidence) &&
      typeof refined === 'boolean' &&
      isCanonical(timestamp) &&
      isCanonical(updatedAt)
    );
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
  write: (record, to, at) => {
    const { heading, timestamp } = record;
    to[at] = heading;
    to[at + 1] = microsecondsOf(timestamp);
    return fieldsOf(record) === 3 && isNumber(record.frameId) && isNumber(heading) && isCanonical(timestamp);
  },
  read: (frameId, from, at) => ({
    frameId,
    heading: from[at] as number,
    timestamp: timestampAt(from[at + 1] as number),
  }),
};
