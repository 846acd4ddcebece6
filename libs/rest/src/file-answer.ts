import { Readable } from 'node:stream';
import { applyDecorators } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ByteRange, OpenFile } from '#lib/files';
import { inDocument } from './document.js';
import { Problem, referenceTo } from './shapes.js';

export interface FileToSend {
  readonly sha256: string;
  readonly type: string;
  readonly size: number;
  /** Called for every answer but that to a part that there is not: one that is missing or damaged is a problem. */
  readonly open: () => Promise<OpenFile>;
}

/** Says in the OpenAPI document that a route answers with a file, or a part of it, of these types. */
export const GivesFile = (types: readonly string[]): MethodDecorator => {
  const content = Object.fromEntries(
    types.map((type) => [type, { schema: { type: 'string', format: 'binary' } as const }]),
  );
  const problem = { 'application/problem+json': { schema: referenceTo(Problem) } };
  return applyDecorators(
    inDocument(({ ApiResponse }) => ApiResponse({ status: 200, description: 'The file', content })),
    inDocument(({ ApiResponse }) => ApiResponse({ status: 206, description: 'A part of it', content })),
    inDocument(({ ApiResponse }) =>
      ApiResponse({ status: 304, description: 'It is what the caller has (If-None-Match)' }),
    ),
    inDocument(({ ApiResponse }) =>
      ApiResponse({ status: 416, description: 'It has no such part', content: problem }),
    ),
    inDocument(({ ApiResponse }) =>
      ApiResponse({ status: 'default', description: 'A problem', content: problem }),
    ),
  );
};

/** Answers with a file: whole, in part, or with the news that the caller has it. */
export async function sendFile(
  { headers, method }: FastifyRequest,
  reply: FastifyReply,
  { sha256, type, size, open }: FileToSend,
): Promise<void> {
  const tag = `"${sha256}"`;
  void reply.headers({
    etag: tag,
    'accept-ranges': 'bytes',
    // It is asked for again each time: what was erased must not come out of a cache.
    'cache-control': 'private, no-cache',
    'x-content-type-options': 'nosniff',
  });
  if (names(headers['if-none-match'], tag)) {
    await (await open()).close();
    await reply.status(304).send();
    return;
  }
  void reply.headers({
    'content-type': type,
    'repr-digest': `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`,
  });
  const ifRange = headers['if-range'];
  // A part of something else is of no use to who has the rest of it.
  const range =
    method === 'GET' && (ifRange === undefined || ifRange === tag) ? partOf(headers.range, size) : undefined;
  if (range === 'none') {
    void reply.header('content-range', `bytes */${size}`).removeHeader('repr-digest');
    await reply
      .status(416)
      .type('application/problem+json')
      .send(
        JSON.stringify({
          type: 'about:blank',
          code: 'file.no-such-part',
          title: 'There is no such part',
          status: 416,
          detail: `The file has ${size} bytes, and the part that was asked for begins after them.`,
        }),
      );
    return;
  }
  const length = range ? range.last - range.first + 1 : size;
  void reply.header('content-length', length);
  if (range) void reply.status(206).header('content-range', `bytes ${range.first}-${range.last}/${size}`);
  if (method === 'HEAD') {
    // It answers as GET does, also for one that is not there.
    await (await open()).close();
    // Fastify reads a stream to its end and leaves the length as it is; for anything else it sets its own.
    await reply.send(Readable.from([]));
    return;
  }
  await reply.send((await open()).read(range));
}

/** Whether a list of tags has one, or any will do. */
const names = (list: string | undefined, tag: string): boolean =>
  list !== undefined &&
  list.split(',').some((one) => one.trim() === '*' || one.trim().replace(/^W\//, '') === tag);

/**
 * The one part that a header asks for; undefined for the whole, which is also the answer to what is not understood and to
 * several parts (RFC 9110, section 14.2). `none` if it begins after the end.
 */
export function partOf(header: string | undefined, size: number): ByteRange | 'none' | undefined {
  const [, from, to] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? '') ?? [];
  if (from === undefined || to === undefined || (from === '' && to === '')) return undefined;
  if (from === '') {
    const length = Number(to);
    return length === 0 ? 'none' : { first: Math.max(0, size - length), last: size - 1 };
  }
  const [first, last] = [Number(from), to === '' ? size - 1 : Number(to)];
  if (to !== '' && last < first) return undefined;
  return first >= size ? 'none' : { first, last: Math.min(last, size - 1) };
}
