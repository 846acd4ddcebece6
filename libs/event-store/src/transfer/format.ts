import { createHash, type Hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { messageOf, WaylogError, type Timestamp } from '#lib/platform';
import { checkAppend } from '../check-append.js';
import type { NewEvent, Position, RecordedEvent } from '../event-store.js';

/**
 * The log in a file: lines of JSON. The first one is the header, the last one the footer, each one between an event.
 * The line of an event ends with its own checksum, so that damage is located; the footer counts and hashes all before
 * it, so that missing lines are noticed.
 */
export const LOG_FILE_FORMAT = 1;

export interface LogFileHeader {
  readonly waylogLog: typeof LOG_FILE_FORMAT;
  readonly exportedAt: Timestamp;
  /** The exported log, in words. */
  readonly from: string;
  /** Only events after this position, if requested. */
  readonly after?: Position;
  /** The last position when the export began; nothing later is in the file. */
  readonly until: Position;
  /** Only these streams, if requested. */
  readonly streams?: readonly string[];
  /** How many events follow, if known; the footer has the number in any case. */
  readonly events?: number;
}

export interface LogFileFooter {
  readonly end: true;
  readonly events: number;
  readonly streams: number;
  /** Of all lines before this one, with their newlines. */
  readonly sha256: string;
}

/** An event of a file; position and time are those in the exported log. */
export type FileEvent = RecordedEvent & { readonly line: number };

const CHECKSUM = /,"crc32":"([0-9a-f]{8})"\}$/;
const CHECKSUM_LENGTH = ',"crc32":"00000000"}'.length;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export const checksum = (text: string): string => crc32(text).toString(16).padStart(8, '0');

/** The line of an event, without its newline. */
export function eventLine(event: RecordedEvent): string {
  const { streamId, revision, position, recordedAt, id, type, schemaVersion, data, metadata } = event;
  const open = JSON.stringify({
    streamId,
    revision,
    position,
    recordedAt,
    id,
    type,
    schemaVersion,
    data,
    metadata,
  }).slice(0, -1);
  return `${open},"crc32":"${checksum(open)}"}`;
}

/** Counts and hashes lines as they are written or read. */
export class Content {
  events = 0;
  /** The last revision of each stream: memory grows with their number. */
  readonly revisions = new Map<string, number>();
  readonly #hash: Hash = createHash('sha256');

  add(line: string): void {
    this.#hash.update(line).update('\n');
  }

  footer(): LogFileFooter {
    const sha256 = this.#hash.copy().digest('hex');
    return { end: true, events: this.events, streams: this.revisions.size, sha256 };
  }
}

export function damaged(line: number, what: string, cause?: unknown): WaylogError {
  return new WaylogError(
    'log-file.damaged',
    'invalid',
    `Line ${line} of the file ${what}. Nothing of the file was imported. Take another copy of it, or export again.`,
    { line },
    { cause },
  );
}

function parse(text: string, line: number): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>;
    }
  } catch (error) {
    throw damaged(line, `is not JSON (${messageOf(error)})`, error);
  }
  throw damaged(line, 'is not a JSON object');
}

/** Throws `log-file.damaged` or `log-file.unknown-format`. */
export function parseHeader(text: string): LogFileHeader {
  const header = text.startsWith('{"waylogLog":') ? parse(text, 1) : undefined;
  if (!header) throw damaged(1, 'is not the header of an exported log: this is another kind of file');
  if (header['waylogLog'] !== LOG_FILE_FORMAT) {
    throw new WaylogError(
      'log-file.unknown-format',
      'invalid',
      `The file has format ${JSON.stringify(header['waylogLog'])}; this Waylog knows format ${LOG_FILE_FORMAT}. ` +
        `Import it with the version of Waylog that wrote it, or a newer one.`,
    );
  }
  return header as unknown as LogFileHeader;
}

/** undefined if the line is not the footer. */
export function parseFooter(text: string, line: number): LogFileFooter | undefined {
  return text.startsWith('{"end":true,') ? (parse(text, line) as unknown as LogFileFooter) : undefined;
}

/** No command makes data of more than some twenty. Far deeper ones end what writes them with an overflow of its stack. */
const MAX_LEVELS = 1_000;

function isTooDeep(text: string): boolean {
  if (text.length < 2 * MAX_LEVELS) return false;
  let levels = 0;
  let isInText = false;
  for (let i = 0; i < text.length; i++) {
    const sign = text[i];
    if (isInText) {
      if (sign === '\\') i++;
      else if (sign === '"') isInText = false;
    } else if (sign === '"') isInText = true;
    else if (sign === '[' || sign === '{') {
      if (++levels > MAX_LEVELS) return true;
    } else if (sign === ']' || sign === '}') levels--;
  }
  return false;
}

/** Throws `log-file.damaged` for anything that no store would record. */
export function parseEvent(text: string, line: number): FileEvent {
  const [, expected] = CHECKSUM.exec(text) ?? [];
  if (expected === undefined)
    throw damaged(line, 'is cut off, or is not an event: it has no checksum at its end');
  if (checksum(text.slice(0, -CHECKSUM_LENGTH)) !== expected) {
    throw damaged(line, 'is not what was written: its checksum is another one');
  }
  if (isTooDeep(text)) throw damaged(line, `is nested in more than ${MAX_LEVELS} levels`);
  const { crc32: _, ...event } = parse(text, line);
  const bad = badField(event);
  if (bad !== undefined) throw damaged(line, `has a bad ${bad}`);
  const checked = { ...(event as unknown as RecordedEvent), line };
  try {
    checkAppend({ streamId: checked.streamId, expectedRevision: 'any', events: [checked] });
  } catch (error) {
    throw damaged(line, `cannot be recorded (${messageOf(error)})`, error);
  }
  return checked;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function badField(event: Record<string, unknown>): string | undefined {
  const texts = ['streamId', 'position', 'recordedAt', 'id', 'type'] as const;
  for (const field of texts) if (typeof event[field] !== 'string') return field;
  if (!UUID.test(event['id'] as string)) return 'id';
  if (!Number.isInteger(event['revision']) || Number(event['revision']) < 0) return 'revision';
  if (!isVersion(event['schemaVersion'])) return 'schemaVersion';
  if (!isObject(event['data'])) return 'data';
  const metadata = event['metadata'];
  if (!isObject(metadata)) return 'metadata';
  for (const field of ['commandId', 'command', 'correlationId', 'causationId', 'actor']) {
    if (typeof metadata[field] !== 'string') return `metadata.${field}`;
  }
  return undefined;
}

/** Versions are 32 bits wide in PostgreSQL. */
const isVersion = (value: unknown): boolean =>
  Number.isInteger(value) && Number(value) >= 1 && Number(value) < 2 ** 31;

/** The part of it that a store records. */
export const newEventOf = ({ id, type, schemaVersion, data, metadata }: NewEvent): NewEvent => ({
  id,
  type,
  schemaVersion,
  data,
  metadata,
});
