import type { FastifyRequest, preValidationHookHandler } from 'fastify';
import { FairTurns, tooMany, type FairTurnsOptions } from '#lib/platform';
import { weightOfRead, type WeightOfRead } from './read-weights.js';
import { RequestWork } from './request-work.js';
import { bodyLength } from './whole-body.js';

/** Bodies from this length on are heavy: the commands in them take the log for tens of milliseconds. */
const LARGE_BODY = 256 * 1024;

/** Of one caller at a time, and of all. It is less than what reads of one kind may be at a time. */
const BOUNDS: FairTurnsOptions = { ofKey: 2, ofAll: 6 };
/** Short lists: as many of one caller that another one always finds a place, and of all as are made at a time. */
const LISTS: FairTurnsOptions = { ofKey: 3, ofAll: 4 };
/** Further heavy ones of a caller wait, of either kind. Short lists wait as the number of its requests allows. */
const MAX_WAITING = 60;

/** Bytes of commands that a request executes. */
export type BytesOf = (request: FastifyRequest) => number;

/**
 * Lets heavy requests of one caller wait for each other, so that those of other callers get their turn, and light ones never
 * wait: the log takes appends in the order in which they arrive, and what is read is kept in memory until it was answered. A
 * turn ends with the work, whatever becomes of the connection. Reads and commands have turns of their own: no command waits for
 * a read. It runs once a body has arrived.
 */
export class WorkInTurn {
  readonly #reads: FairTurns;
  readonly #commands: FairTurns;
  readonly #lists = new FairTurns(LISTS);

  constructor(
    private readonly bytesOf: BytesOf = bodyLength,
    private readonly read: WeightOfRead = weightOfRead(new Map()),
    bounds = BOUNDS,
  ) {
    this.#reads = new FairTurns(bounds);
    this.#commands = new FairTurns(bounds);
  }

  readonly preValidation: preValidationHookHandler = (request, reply, done) => {
    const { actor } = request;
    const isCommand = isCommandRequest(request);
    const read = isCommand ? undefined : this.read(request);
    const weight = read?.weight ?? Number(this.bytesOf(request) >= LARGE_BODY);
    const isShortList = weight === 0 && read?.isList === true;
    if (actor === undefined || (weight === 0 && !isShortList)) {
      done();
      return;
    }
    const turns = isCommand ? this.#commands : isShortList ? this.#lists : this.#reads;
    if (!isShortList && turns.waiting(actor) >= MAX_WAITING) {
      done(
        tooMany(
          'requests.too-many',
          `${MAX_WAITING} large ${isCommand ? 'commands' : 'reads'} of ${actor} wait for their turn already. Wait for answers before you send more.`,
          1,
        ),
      );
      return;
    }
    // Before the turn can begin.
    const work = RequestWork.of(request, reply);
    const turn = turns.ask(actor, done, Math.max(1, weight));
    work.onEnd(() => {
      turn.end();
    });
  };
}

/** Whether a request can append to the log. */
export const isCommandRequest = ({ method, routeOptions: { url = '' } }: FastifyRequest): boolean =>
  method !== 'GET' && method !== 'HEAD' && url !== '/v1/queries' && !url.startsWith('/v1/admin/');
