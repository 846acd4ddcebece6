import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type {
  FastifyReply,
  FastifyRequest,
  onRequestHookHandler,
  onSendHookHandler,
  preValidationHookHandler,
} from 'fastify';
import { LimitsByKey, MAX_ANSWER_BYTES, tooMany, unavailable, type WaylogError } from '#lib/platform';

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

/** Counts bytes that are kept for callers, until each answer was sent or its connection closed. */
class BytesUnderWay {
  #bytes = 0;
  readonly #bytesOf = new Map<string, number>();
  /** Ends the count of each request of a connection. */
  readonly #open = new WeakMap<Socket, Set<() => void>>();

  constructor(
    private readonly bounds: UnderWayBounds,
    /** Such as "answers that are not taken yet". */
    private readonly what: string,
    private readonly code: string,
    /** Shorter ones are not counted. */
    private readonly least: number,
  ) {}

  /** Counts more bytes, or returns why there is no room. */
  keep(
    bytes: number,
    { principal, raw }: FastifyRequest,
    { raw: answer }: FastifyReply,
  ): WaylogError | undefined {
    if (bytes < this.least || raw.socket.destroyed) return undefined;
    const caller = principal?.actor ?? '';
    const { bytesOfOne } = this.bounds;
    if ((this.#bytesOf.get(caller) ?? 0) + bytes > bytesOfOne) {
      return tooMany(
        `${this.code}.too-many`,
        `With this one, ${caller || 'this address'} has more than ${bytesOfOne / MIB} MiB of ${this.what}. Send it again when some are through.`,
        1,
      );
    }
    if (this.#bytes + bytes > this.bounds.bytes) {
      return unavailable(
        `${this.code}.overloaded`,
        `There is no room for more ${this.what}. Send it again in a moment.`,
        { retryAfterSeconds: 1 },
      );
    }
    const open = this.#openOf(raw.socket);
    const end = () => {
      if (open.delete(end)) this.#add(caller, -bytes);
    };
    open.add(end);
    this.#add(caller, bytes);
    answer.once('close', end);
    return undefined;
  }

  /** An answer that waits behind others on its connection gets no event when the connection closes. */
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

/**
 * Bodies that arrive or are being processed. Each is kept whole before it is parsed, so hundreds of connections that
 * send slowly would need gigabytes, and so would thousands that send little each. A body of unstated length counts as
 * the longest allowed.
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
    const { 'content-length': length, 'transfer-encoding': chunked } = request.headers;
    // A longer one is refused elsewhere.
    const bytes = chunked === undefined ? Math.min(Number(length ?? 0), this.maxBody) : this.maxBody;
    done(this.#bytes.keep(bytes, request, reply));
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

/** Unanswered requests of one caller, which delay those of others. */
const MAX_OF_CALLER = 500;

/** Refuses further requests of a caller, over all its connections. It runs after the caller was identified. */
export class RequestsUnderWay {
  readonly #open = new Map<string, number>();

  readonly onRequest: onRequestHookHandler = ({ principal }, reply, done) => {
    if (!principal) {
      done();
      return;
    }
    const { actor } = principal;
    const open = this.#open.get(actor) ?? 0;
    if (open >= MAX_OF_CALLER) {
      done(
        tooMany(
          'requests.too-many',
          `${actor} has ${MAX_OF_CALLER} requests without an answer. Wait for answers before you send more.`,
          1,
        ),
      );
      return;
    }
    this.#open.set(actor, open + 1);
    reply.raw.once('close', () => {
      const left = (this.#open.get(actor) ?? 1) - 1;
      if (left > 0) this.#open.set(actor, left);
      else this.#open.delete(actor);
    });
    done();
  };
}

/** Bodies from this length on are large: the commands in them take the log for tens of milliseconds. */
const LARGE_BODY = MIB / 4;
/** So many large ones of one caller are executed at a time. */
const LARGE_OF_CALLER = 2;

/**
 * Lets large bodies of one caller wait for each other, so that small commands of other callers find their turn between them:
 * the log takes appends in the order in which they arrive. It runs once a body has arrived, and how many can wait is bounded
 * by `BodiesUnderWay`.
 */
export class LargeBodiesInTurn {
  readonly #turns = new LimitsByKey(() => LARGE_OF_CALLER);

  readonly preValidation: preValidationHookHandler = (request, reply, done) => {
    const { principal, headers } = request;
    // One of unstated length counts as large.
    const bytes =
      headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : LARGE_BODY;
    if (!principal || bytes < LARGE_BODY) {
      done();
      return;
    }
    const turn = this.#turns.run(
      principal.actor,
      () =>
        new Promise<void>((resolve) => {
          // The caller has gone while it waited: nothing was begun.
          if (reply.raw.closed || request.raw.socket.destroyed) {
            resolve();
            return;
          }
          reply.raw.once('close', resolve);
          done();
        }),
    );
    turn.catch(done);
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
