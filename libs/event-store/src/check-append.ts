import { WaylogError } from '#lib/platform';
import type { AppendRequest } from './event-store.js';

// Half a surrogate pair is no text: UTF-8 cannot say it, and PostgreSQL would be sent another character.
// Other characters that are not seen pass: whoever makes an id refuses them, and flights of before can be gone on with.
// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const controlCharacter = /[\u0000-\u001f\u007f\ud800-\udfff]/u;

/** Well within what the index on stream ids can hold. */
const MAX_STREAM_ID_BYTES = 1_024;
/** Revisions are 32 bits wide in PostgreSQL. */
const MAX_REVISION = 2 ** 31 - 1;

/** Every adapter refuses the same requests, before anything is sent. */
export function checkAppend({ streamId, expectedRevision, events }: AppendRequest): void {
  if (Buffer.byteLength(streamId) > MAX_STREAM_ID_BYTES) {
    throw invalid(`Stream id ${streamId.slice(0, 40)}... has more than ${MAX_STREAM_ID_BYTES} bytes.`);
  }
  if (streamId === '' || controlCharacter.test(streamId)) {
    throw invalid(
      `Stream id ${JSON.stringify(streamId)} is empty, or has control characters of ASCII or broken Unicode.`,
    );
  }
  if (events.length === 0) {
    throw invalid(`The append to ${streamId} has no events. An append records at least one.`);
  }
  if (
    typeof expectedRevision === 'number' &&
    !(Number.isSafeInteger(expectedRevision) && expectedRevision >= 0 && expectedRevision < MAX_REVISION)
  ) {
    throw invalid(
      `Expected revision ${expectedRevision} of ${streamId} is not a whole number from 0 to ${MAX_REVISION - 1}.`,
    );
  }
  const ids = new Set<string>();
  for (const { id, type } of events) {
    if (type === '' || controlCharacter.test(type)) {
      throw invalid(
        `Event type ${JSON.stringify(type)} in ${streamId} is empty, or has control characters of ASCII or broken Unicode.`,
      );
    }
    if (ids.has(id)) throw invalid(`Event id ${id} stands twice in one append to ${streamId}.`);
    ids.add(id);
  }
}

const invalid = (message: string) => new WaylogError('append.invalid', 'invalid', message);
