import { randomFillSync } from 'node:crypto';
import { v7 as uuidv7 } from 'uuid';

/** Random bytes for 256 ids at a time: asking the system for each id took an eighth of the time of a command. */
const random = new Uint8Array(16 * 256);
let used = random.length;

/** A UUIDv7: it begins with the time in milliseconds, the rest is random. */
export function newEventId(): string {
  if (used === random.length) {
    randomFillSync(random);
    used = 0;
  }
  return uuidv7({ random: random.subarray(used, (used += 16)) });
}
