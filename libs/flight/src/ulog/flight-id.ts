import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { messageOf, WaylogError } from '#lib/platform';
import { newId } from '../command.js';

/**
 * The flight id of a log file: a UUID (version 5) of its SHA-256, so that the same file imported twice, under whatever
 * name, is the same flight. Reads the file in small pieces. Throws `ulog.unreadable` where it cannot.
 */
export async function flightIdOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  } catch (error) {
    throw new WaylogError(
      'ulog.unreadable',
      'invalid',
      `Cannot read ${path}: ${messageOf(error)}. Check the path.`,
      { path },
      { cause: error },
    );
  }
  return newId(`ulog ${hash.digest('hex')}`, 'flight');
}
