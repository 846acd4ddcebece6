import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { onSendHookHandler } from 'fastify';
import { tooMany, unavailable } from '#lib/platform';

const MIB = 1024 * 1024;
/** Smaller answers are not counted: of one connection Node makes no more than the socket takes. */
const COUNTED_BYTES = 64 * 1024;

export const ANSWERS_UNDER_WAY = {
  /** Of one caller, and of all. The largest answer that there is has 16 MiB. */
  bytesOfOne: 64 * MIB,
  bytes: 256 * MIB,
  /** How long a caller may take nothing of an answer. */
  notTakenMs: 30_000,
};

/**
 * Answers that are made and that their callers have not taken yet. Whoever asks for large ones and does not read them would
 * have this process keep them all, for as long as he likes: so their bytes are bounded, and a connection that takes nothing
 * is closed.
 */
export class AnswersUnderWay {
  #bytes = 0;
  readonly #bytesOf = new Map<string, number>();
  /** What ends the counting of each answer of a connection. */
  readonly #open = new WeakMap<Socket, Set<() => void>>();

  constructor(private readonly bounds = ANSWERS_UNDER_WAY) {}

  readonly onSend: onSendHookHandler = (request, reply, payload, done) => {
    closeUnlessTaken(reply.raw, this.bounds.notTakenMs);
    const bytes = sizeOf(payload);
    if (bytes < COUNTED_BYTES || request.raw.socket.destroyed) {
      done(null, payload);
      return;
    }
    const caller = request.principal?.actor ?? '';
    const ofCaller = (this.#bytesOf.get(caller) ?? 0) + bytes;
    if (ofCaller > this.bounds.bytesOfOne) done(tooManyOf(caller, this.bounds.bytesOfOne));
    else if (this.#bytes + bytes > this.bounds.bytes) done(tooManyOfAll());
    else {
      this.#count(caller, bytes, request.raw.socket, reply.raw);
      done(null, payload);
    }
  };

  #count(caller: string, bytes: number, socket: Socket, answer: ServerResponse): void {
    const open = this.#openOf(socket);
    const end = () => {
      if (open.delete(end)) this.#add(caller, -bytes);
    };
    open.add(end);
    this.#add(caller, bytes);
    answer.once('close', end);
  }

  /** An answer that waits behind others on its connection is not told that this has closed. */
  #openOf(socket: Socket): Set<() => void> {
    let open = this.#open.get(socket);
    if (!open) {
      const ends = (open = new Set<() => void>());
      this.#open.set(socket, ends);
      socket.once('close', () => {
        for (const end of ends) end();
      });
    }
    return open;
  }

  #add(caller: string, bytes: number): void {
    this.#bytes += bytes;
    const ofCaller = (this.#bytesOf.get(caller) ?? 0) + bytes;
    if (ofCaller > 0) this.#bytesOf.set(caller, ofCaller);
    else this.#bytesOf.delete(caller);
  }
}

/** A connection without a sign of life is closed by Node; the time stands still while there is nothing to take. */
function closeUnlessTaken(answer: ServerResponse, ms: number): void {
  answer.setTimeout(ms);
  // Before Node sets the time for which it keeps the connection, where no other answer waits.
  answer.prependOnceListener('finish', () => answer.socket?.setTimeout(0));
}

const sizeOf = (payload: unknown): number =>
  typeof payload === 'string'
    ? Buffer.byteLength(payload)
    : payload instanceof Uint8Array
      ? payload.byteLength
      : 0;

const tooManyOf = (caller: string, bytes: number) =>
  tooMany(
    'answers.not-taken',
    `${caller || 'This address'} has asked for answers that are not taken yet, and more than ${bytes / MIB} MiB of them with this one. Read them, then ask again.`,
    1,
  );

const tooManyOfAll = () =>
  unavailable(
    'answers.overloaded',
    'So many large answers are on their way that there is no room for this one. Ask again.',
    { retryAfterSeconds: 1 },
  );
