import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest, onRequestHookHandler, onSendHookHandler } from 'fastify';
import { MAX_ANSWER_BYTES, tooMany, unavailable, type WaylogError } from '#lib/platform';
import { cutFile, filesOfRoute } from '#lib/rest';
import { RequestWork } from './request-work.js';

const MIB = 1024 * 1024;
/** Shorter answers are not counted: those to all the requests that one connection can have in progress are 256 KiB. */
const COUNTED_ANSWER = 4 * 1024;

/** The most unanswered requests of one connection. A client that pipelines has a few. */
const MAX_PIPELINED = 64;

export interface UnderWayBounds {
  /** Of one caller, and of all. */
  readonly bytesOfOne: number;
  readonly bytes: number;
}

const BOUNDS: UnderWayBounds = { bytesOfOne: 4 * MAX_ANSWER_BYTES, bytes: 16 * MAX_ANSWER_BYTES };

/** How long a caller can read nothing of an answer. */
const NOT_TAKEN_MS = 30_000;

/** What is counted for callers, and the sum of all. */
class Tally {
  #all = 0;
  readonly #of = new Map<string, number>();

  get all(): number {
    return this.#all;
  }

  of(caller: string): number {
    return this.#of.get(caller) ?? 0;
  }

  /** Until the request is over. */
  count(caller: string, amount: number, request: FastifyRequest, reply: FastifyReply): void {
    this.#add(caller, amount);
    RequestWork.of(request, reply).onOver(() => {
      this.#add(caller, -amount);
    });
  }

  #add(caller: string, amount: number): void {
    this.#all += amount;
    const ofCaller = this.of(caller) + amount;
    if (ofCaller > 0) this.#of.set(caller, ofCaller);
    else this.#of.delete(caller);
  }
}

/** Counts bytes that are kept for callers, until each request is over. */
class BytesUnderWay {
  readonly #bytes = new Tally();

  constructor(
    private readonly bounds: UnderWayBounds,
    /** Such as "answers that are not taken yet". */
    private readonly what: string,
    private readonly code: string,
    /** Shorter ones are not counted. */
    private readonly least: number,
  ) {}

  /** Counts more bytes, or returns why there is no room. */
  keep(bytes: number, request: FastifyRequest, reply: FastifyReply): WaylogError | undefined {
    if (bytes < this.least || request.raw.socket.destroyed) return undefined;
    const caller = request.actor ?? '';
    const { bytesOfOne } = this.bounds;
    if (this.#bytes.of(caller) + bytes > bytesOfOne) {
      return tooMany(
        `${this.code}.too-many`,
        `With this one, ${caller || 'this address'} has more than ${bytesOfOne / MIB} MiB of ${this.what}. Send it again when some are through.`,
        1,
      );
    }
    if (this.#bytes.all + bytes > this.bounds.bytes) {
      return unavailable(
        `${this.code}.overloaded`,
        `There is no room for more ${this.what}. Send it again in a moment.`,
        { retryAfterSeconds: 1 },
      );
    }
    this.#bytes.count(caller, bytes, request, reply);
    return undefined;
  }
}

/**
 * Bodies that arrive or are being processed. Each is kept whole before it is parsed, so hundreds of connections that
 * send slowly would need gigabytes, and so would thousands that send little each. A body of unstated length counts as
 * the longest allowed. Files go to the disk as they arrive, and are counted by `FilesUnderWay`.
 */
export class BodiesUnderWay {
  readonly #bytes: BytesUnderWay;

  constructor(
    private readonly maxBody: number,
    bounds = BOUNDS,
  ) {
    this.#bytes = new BytesUnderWay(bounds, 'request bodies under way', 'bodies', 1);
  }

  readonly onRequest: onRequestHookHandler = (request, reply, done) => {
    if (filesOfRoute(request)) {
      done();
      return;
    }
    const { 'content-length': length, 'transfer-encoding': chunked } = request.headers;
    // A longer one is refused elsewhere.
    const bytes = chunked === undefined ? Math.min(Number(length ?? 0), this.maxBody) : this.maxBody;
    done(this.#bytes.keep(bytes, request, reply));
  };
}

/** Files that arrive at a time: each is a connection and an open file, for up to an hour. */
const FILES = { ofOne: 8, ofAll: 64 };

/** How long a stop waits for files that are arriving: an hour would not do. */
const FILES_STOP_MS = 3_000;

/** Counts the files that arrive. Commands do not wait for them, however slowly they come, and nor does a stop. */
export class FilesUnderWay {
  readonly #files = new Tally();
  readonly #requests = new Set<FastifyRequest>();

  constructor(
    private readonly bounds = FILES,
    private readonly stopMs = FILES_STOP_MS,
  ) {}

  readonly preClose = (done: () => void): void => {
    setTimeout(() => this.#requests.forEach(cutFile), this.stopMs).unref();
    done();
  };

  readonly onRequest: onRequestHookHandler = (request, reply, done) => {
    if (!filesOfRoute(request)) {
      done();
      return;
    }
    const caller = request.actor ?? '';
    const { ofOne, ofAll } = this.bounds;
    if (this.#files.of(caller) >= ofOne)
      done(
        tooMany(
          'files.too-many',
          `${caller || 'This address'} sends ${ofOne} files already. Send it again when one of them is through.`,
          1,
        ),
      );
    else if (this.#files.all >= ofAll)
      done(
        unavailable('files.overloaded', `${ofAll} files are arriving already. Send it again in a moment.`, {
          retryAfterSeconds: 1,
        }),
      );
    else {
      this.#files.count(caller, 1, request, reply);
      this.#requests.add(request);
      RequestWork.of(request, reply).onOver(() => this.#requests.delete(request));
      done();
    }
  };
}

/**
 * Answers that are ready and that their callers have not read yet. A caller that requests large answers and does not
 * read them would make this process keep them all. So their bytes are limited, and a connection that reads nothing is
 * closed.
 */
export class AnswersUnderWay {
  readonly #bytes: BytesUnderWay;

  constructor(
    bounds = BOUNDS,
    private readonly notTakenMs = NOT_TAKEN_MS,
  ) {
    this.#bytes = new BytesUnderWay(bounds, 'answers that are not taken yet', 'answers', COUNTED_ANSWER);
  }

  readonly onSend: onSendHookHandler = (request, reply, payload, done) => {
    closeUnlessTaken(reply.raw, this.notTakenMs);
    const refusal = this.#bytes.keep(sizeOf(payload), request, reply);
    if (refusal) done(refusal);
    else done(null, payload);
  };
}

/** Node closes a connection without activity; the timer is stopped while there is nothing to read. */
function closeUnlessTaken(answer: ServerResponse, ms: number): void {
  answer.setTimeout(ms);
  // Before Node sets its keep-alive timeout, if no other answer waits.
  answer.prependOnceListener('finish', () => answer.socket?.setTimeout(0));
}

const sizeOf = (payload: unknown): number =>
  typeof payload === 'string'
    ? Buffer.byteLength(payload)
    : payload instanceof Uint8Array
      ? payload.byteLength
      : 0;

/** Requests of one caller without an answer, or whose work goes on; they delay those of others. */
const MAX_OF_CALLER = 500;

/** Refuses further requests of a caller, over all its connections. It runs after the caller was identified. */
export class RequestsUnderWay {
  readonly #open = new Tally();

  readonly onRequest: onRequestHookHandler = (request, reply, done) => {
    const { actor } = request;
    if (actor === undefined) {
      done();
      return;
    }
    if (this.#open.of(actor) >= MAX_OF_CALLER) {
      done(
        tooMany(
          'requests.too-many',
          `${actor} has ${MAX_OF_CALLER} requests without an answer, or whose work goes on after their connection was closed. Wait for answers before you send more.`,
          1,
        ),
      );
      return;
    }
    this.#open.count(actor, 1, request, reply);
    done();
  };
}

const pipelined = new WeakMap<Socket, number>();

/**
 * Refuses requests on a connection that has too many without an answer. Node reads as many as fit into 64 KiB, starts
 * them all, and holds their answers back until the earlier ones were sent: thousands of reads for the price of one.
 */
export const boundPipelining: onRequestHookHandler = ({ raw: { socket } }, reply, done) => {
  const open = (pipelined.get(socket) ?? 0) + 1;
  pipelined.set(socket, open);
  reply.raw.once('close', () => pipelined.set(socket, (pipelined.get(socket) ?? 1) - 1));
  if (open <= MAX_PIPELINED) {
    done();
    return;
  }
  void reply.header('connection', 'close');
  done(
    tooMany(
      'requests.too-many',
      `This connection has ${MAX_PIPELINED} requests without an answer. Wait for answers, or use more connections.`,
      1,
    ),
  );
};
