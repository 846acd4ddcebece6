import { Readable } from 'node:stream';
import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest, onSendHookHandler } from 'fastify';
import { invalidInput, unavailable, WaylogError } from '#lib/platform';
import { inDocument } from './document.js';
import { filesOfRoute } from './route.js';

/** A file that is the body of a request. */
export interface FileInRequest {
  readonly source: AsyncIterable<Uint8Array>;
  /** What the sender announces, as far as it does. */
  readonly size: number | undefined;
  readonly sha256: string | undefined;
}

/** What is left of a refused file is read up to so much, so that its sender comes to reading the answer. */
const MAX_DRAINED = 8 * 1024 * 1024;

const sentFileOf = createParamDecorator((_: unknown, context: ExecutionContext): FileInRequest => {
  return fileIn(context.switchToHttp().getRequest<FastifyRequest>());
});

/** The file that is sent, with what the sender says of it in Content-Length, Repr-Digest and Content-Digest (RFC 9530). */
export const SentFile = (): ParameterDecorator => (target, key, index) => {
  sentFileOf()(target, key, index);
  const descriptor = key && Object.getOwnPropertyDescriptor(target, key);
  if (!key || !descriptor) return;
  inDocument(({ ApiHeader }) =>
    ApiHeader({
      name: 'Repr-Digest',
      required: false,
      description:
        'The SHA-256 of the file as `sha-256=:BASE64:`. The file is refused if it arrives as something else.',
      schema: { type: 'string' },
    }),
  )(target, key, descriptor);
};

export function fileIn(request: FastifyRequest): FileInRequest {
  const { headers, body } = request;
  const coding = headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  if (coding !== 'identity')
    throw new WaylogError(
      'file.coded',
      'unsupported',
      `The file is sent with Content-Encoding: ${coding.slice(0, 50)}. Send it as it is: files are taken without any coding.`,
    );
  // RFC 9110, section 14.5: a part must not be taken for the whole.
  if (headers['content-range'] !== undefined)
    throw invalidInput([{ field: 'Content-Range', message: 'is not taken: send the file whole' }]);
  const length = headers['content-length'];
  return {
    source: body instanceof Readable ? piecesOf(body, request) : nothing(),
    size: length === undefined ? undefined : Number(length),
    sha256:
      announcedDigest(headers['repr-digest'], 'Repr-Digest') ??
      announcedDigest(headers['content-digest'], 'Content-Digest'),
  };
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // Whoever stores it says that it is empty.
}

/** How many bytes were taken of the files that are arriving. */
const taken = new WeakMap<FastifyRequest, number>();

/** What ends the arrival of a file. */
const cuts = new WeakMap<FastifyRequest, AbortController>();

/** Refuses the rest of a file that is arriving, so that its sender is answered. */
export const cutFile = (request: FastifyRequest): void =>
  cuts
    .get(request)
    ?.abort(
      unavailable(
        'server.stopping',
        'The server is stopping, and does not wait for the rest of the file. Nothing of it was kept; send it again shortly.',
        { retryAfterSeconds: 5 },
      ),
    );

/** Its bytes. Whoever refuses it in the middle can still answer: by default the connection would be destroyed with the stream. */
async function* piecesOf(
  body: Readable,
  request: FastifyRequest,
): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0;
  let isWhole = false;
  const pieces = body.iterator({ destroyOnReturn: false });
  const cut = new AbortController();
  cuts.set(request, cut);
  try {
    for (;;) {
      const next = await orCut<IteratorResult<Uint8Array>>(pieces.next(), cut.signal);
      if (next.done) break;
      taken.set(request, (bytes += next.value.length));
      yield next.value;
    }
    isWhole = true;
  } finally {
    // Node reads what is left by itself only of a body that nobody began to read: the next request on this connection
    // would wait behind it for good.
    if (!isWhole) {
      // One that is cut waits for its next piece, and its connection is closed.
      if (!cut.signal.aborted) await pieces.return?.();
      body.resume();
    }
  }
}

/** What comes, unless it is cut before. A race with one promise for all pieces would keep each of them until the end. */
async function orCut<T>(coming: Promise<T>, cut: AbortSignal): Promise<T> {
  cut.throwIfAborted();
  let refuse: () => void = () => undefined;
  try {
    return await new Promise<T>((resolve, reject) => {
      refuse = () => reject(cut.reason as Error);
      cut.addEventListener('abort', refuse);
      coming.then(resolve, reject);
    });
  } finally {
    cut.removeEventListener('abort', refuse);
  }
}

/**
 * Closes the connection after the answer to a file that is refused, if much of it is still to come: otherwise all of it would
 * be read, at the pace of its sender. For `onSend`.
 */
export const closeBeforeTheRest: onSendHookHandler = (request, reply, payload, done) => {
  const announced = Number(request.headers['content-length'] ?? Infinity);
  if (filesOfRoute(request) && !request.raw.complete && announced - (taken.get(request) ?? 0) > MAX_DRAINED)
    void reply.header('connection', 'close');
  done(null, payload);
};

/**
 * The SHA-256 in a header of digests: `sha-256=:BASE64:`, among others perhaps. Throws `input.invalid` for one that cannot be
 * read.
 */
function announcedDigest(header: string | string[] | undefined, name: string): string | undefined {
  const text = Array.isArray(header) ? header.join(',') : header;
  const entry = text?.split(',').find((one) => /^\s*sha-256\s*=/.test(one));
  if (entry === undefined) return undefined;
  const [, base64 = ''] = /^\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?:;.*)?$/.exec(entry) ?? [];
  if (base64 === '')
    throw new WaylogError(
      'input.invalid',
      'invalid',
      `${name} names no SHA-256 that can be read: it must be like sha-256=:BASE64: with 44 characters between the colons.`,
      { errors: [{ field: name, message: 'must be like sha-256=:BASE64:' }] },
    );
  return Buffer.from(base64, 'base64').toString('hex');
}
