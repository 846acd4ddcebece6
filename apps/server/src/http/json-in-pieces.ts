import type { preSerializationHookHandler } from 'fastify';
import { answerTooLarge, MAX_ANSWER_BYTES, Turns } from '#lib/platform';
import { RequestWork } from './request-work.js';

/** Shorter lists are written at once. */
const LONG = 200;

/** Lists of a route, and pages of them. A hook of Fastify, like `positionHeader`. */
export const longLists: preSerializationHookHandler = (request, reply, answer, done) => {
  // Nobody is left to read it.
  if (RequestWork.known(request)?.isClosed) {
    done(null, null);
    return;
  }
  const list = listOf(answer);
  if (list === undefined || list.length < LONG) {
    done(null, answer);
    return;
  }
  jsonInPieces(answer).then((json) => {
    reply.serializer((written: Buffer) => written as unknown as string);
    if (!reply.hasHeader('content-type')) void reply.type('application/json; charset=utf-8');
    done(null, json);
  }, done);
};

const listOf = (answer: unknown): readonly unknown[] | undefined =>
  Array.isArray(answer)
    ? answer
    : typeof answer === 'object' && answer !== null && 'items' in answer && Array.isArray(answer.items)
      ? answer.items
      : undefined;

/**
 * The JSON of a list, or of an object with a list among its fields, as by JSON.stringify, but written item by item, so
 * that a long one does not hold the process. Throws `answer.too-large`.
 */
export const jsonInPieces = async (value: unknown): Promise<Buffer> => Buffer.concat(await piecesOf(value));

async function piecesOf(value: unknown): Promise<Buffer[]> {
  if (Array.isArray(value)) return [OPEN, ...(await piecesOfItems(value)), CLOSE];
  if (typeof value !== 'object' || value === null) return [Buffer.from(JSON.stringify(value))];
  const parts: Buffer[] = [];
  for (const [name, field] of Object.entries(value)) {
    const json = Array.isArray(field) ? await piecesOf(field) : jsonOf(field);
    if (json === undefined) continue;
    parts.push(Buffer.from(`${parts.length === 0 ? '{' : ','}${JSON.stringify(name)}:`));
    parts.push(...(typeof json === 'string' ? [Buffer.from(json)] : json));
  }
  return parts.length === 0 ? [Buffer.from('{}')] : [...parts, Buffer.from('}')];
}

/** JSON.stringify returns undefined for values that JSON lacks, which its type does not say. */
const jsonOf = (value: unknown): string | undefined => JSON.stringify(value);

const OPEN = Buffer.from('[');
const CLOSE = Buffer.from(']');

async function piecesOfItems(items: readonly unknown[]): Promise<Buffer[]> {
  const done: Buffer[] = [];
  let bytes = 0;
  let text = '';
  const turns = new Turns(true);
  const flush = () => {
    const piece = Buffer.from(text);
    bytes += piece.length;
    if (bytes > MAX_ANSWER_BYTES) throw answerTooLarge();
    done.push(piece);
    text = '';
  };
  for (let i = 0; i < items.length; i++) {
    text += (i === 0 ? '' : ',') + (jsonOf(items[i]) ?? 'null');
    if (!turns.isOver) continue;
    flush();
    await turns.next();
  }
  flush();
  return done;
}
