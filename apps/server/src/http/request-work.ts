import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest, onSendHookHandler, preHandlerHookHandler } from 'fastify';
import type { Position } from '#lib/event-store';

/**
 * How far a request is. A caller can close its connection while the server goes on with what it has begun: a command cannot be
 * called back. So what is counted for a caller is counted until the work has ended, and not until nobody waits for it.
 */
export class RequestWork {
  #stage: 'before' | 'at work' | 'answered' = 'before';
  /** The answer was sent to its end, or the connection is closed. */
  #isClosed: boolean;
  /** What goes on although it was answered. */
  #more = 0;
  #position: Position | undefined;
  readonly #onEnd: (() => void)[] = [];
  readonly #onOver: (() => void)[] = [];

  private constructor(
    socket: Socket,
    private readonly reply: FastifyReply,
  ) {
    this.#isClosed = socket.destroyed;
    if (this.#isClosed) return;
    const onSocket = ofSocket(socket);
    const close = () => {
      if (!onSocket.delete(close)) return;
      this.#isClosed = true;
      this.#tell();
    };
    // An answer that waits behind others on its connection gets no event when the connection closes.
    onSocket.add(close);
    reply.raw.once('close', close);
  }

  static of({ raw }: FastifyRequest, reply: FastifyReply): RequestWork {
    let work = works.get(raw);
    if (!work) works.set(raw, (work = new RequestWork(raw.socket, reply)));
    return work;
  }

  static known({ raw }: FastifyRequest): RequestWork | undefined {
    return works.get(raw);
  }

  /** Nobody waits for the answer any more, or it was sent. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The position that its command was recorded at, as far as known. */
  get position(): Position | undefined {
    const header = this.reply.getHeader('waylog-position');
    return header === undefined ? this.#position : String(header);
  }

  /** Calls back when nothing is done for the request (any more): at once, if that is so. */
  onEnd(call: () => void): void {
    this.#onEnd.push(call);
    this.#tell();
  }

  /** Calls back when nothing is done for it, and nothing is kept for it either. */
  onOver(call: () => void): void {
    this.#onOver.push(call);
    this.#tell();
  }

  /** Whether the work can begin: for a caller that has gone it does not. */
  begin(): boolean {
    if (this.#isClosed) return false;
    if (this.#stage === 'before') this.#stage = 'at work';
    return true;
  }

  answered(): void {
    this.#stage = 'answered';
    this.#tell();
  }

  /** Work that may go on when the request is answered, as after a timeout. */
  goesOnUntil(work: Promise<unknown>): void {
    this.#more++;
    work
      .then(
        (result) => {
          this.#position = positionOf(result);
        },
        () => undefined,
      )
      .finally(() => {
        this.#more--;
        this.#tell();
      });
  }

  #tell(): void {
    if (this.#more > 0 || this.#stage === 'at work' || (this.#stage === 'before' && !this.#isClosed)) return;
    for (const call of this.#onEnd.splice(0)) call();
    if (this.#isClosed) for (const call of this.#onOver.splice(0)) call();
  }
}

const works = new WeakMap<IncomingMessage, RequestWork>();

const sockets = new WeakMap<Socket, Set<() => void>>();

/** What is to be called when a connection closes. */
function ofSocket(socket: Socket): Set<() => void> {
  let onSocket = sockets.get(socket);
  if (!onSocket) {
    const calls = (onSocket = new Set<() => void>());
    sockets.set(socket, calls);
    socket.once('close', () => {
      for (const call of calls) call();
    });
  }
  return onSocket;
}

const positionOf = (result: unknown): Position | undefined =>
  typeof result === 'object' && result !== null && 'position' in result ? String(result.position) : undefined;

/** Before the handler: for a caller that has gone it is not reached. */
export const beginWork: preHandlerHookHandler = (request, _reply, done) => {
  if (RequestWork.known(request)?.begin() !== false) done();
};

/** The first hook with an answer, which Fastify calls also if nobody is left to read it; unlike `onResponse`. */
export const endWork: onSendHookHandler = (request, _reply, payload, done) => {
  RequestWork.known(request)?.answered();
  done(null, payload);
};
