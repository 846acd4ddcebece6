import type { IncomingMessage } from 'node:http';
import { errorCodes, type FastifyRequest } from 'fastify';

type Done = (error: Error | null, body?: Buffer) => unknown;

/**
 * Reads a body of at most `limit` bytes. Fastify keeps each piece of it until the end, as a separate Buffer: a client
 * that sends 8 MB as chunks of one byte would make the process hold 3 GB. Here each piece is copied and released.
 */
export function readWholeBody(request: FastifyRequest, limit: number, done: Done): void {
  const { headers, raw: payload } = request;
  const announced = headers['content-length'] === undefined ? undefined : Number(headers['content-length']);
  if (announced !== undefined && announced > limit) {
    done(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
    return;
  }
  let kept: Buffer = Buffer.alloc(0);
  let length = 0;
  const onData = (piece: Buffer) => {
    const end = length + piece.length;
    if (end > limit) {
      finish(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
      return;
    }
    // Most bodies come in one piece.
    if (length === 0) kept = piece;
    else {
      if (end > kept.length) kept = grown(kept, length, Math.min(limit, Math.max(end, 2 * length)));
      piece.copy(kept, length);
    }
    length = end;
  };
  const onEnd = () => {
    if (announced !== undefined && length !== announced)
      finish(new errorCodes.FST_ERR_CTP_INVALID_CONTENT_LENGTH());
    else finish(null);
  };
  const onError = (error: Error) => finish(Object.assign(error, { statusCode: 400 }));
  const finish = (error: Error | null) => {
    if (announced === undefined) lengths.set(payload, length);
    payload.off('data', onData).off('end', onEnd).off('error', onError);
    done(error, error ? undefined : kept.subarray(0, length));
  };
  payload.on('data', onData).on('end', onEnd).on('error', onError);
}

function grown(bytes: Buffer, length: number, size: number): Buffer {
  const larger = Buffer.allocUnsafeSlow(size);
  bytes.copy(larger, 0, 0, length);
  return larger;
}

/** Of bodies that came without an announcement. */
const lengths = new WeakMap<IncomingMessage, number>();

/** The bytes of a body that was read. */
export const bodyLength = ({ headers, raw }: FastifyRequest): number =>
  lengths.get(raw) ?? Number(headers['content-length'] ?? 0);
