import { Injectable } from '@nestjs/common';
import type { onRequestHookHandler } from 'fastify';
import { unavailable } from '#lib/platform';
import { sendProblem } from '../http/problem.js';

/** What goes on while the tables are away: the operator's API, probes, metrics and the documents. */
const OPEN = /^\/(v1\/admin|health|metrics|docs|openapi\.json)(\/|\?|-|$)/;

/** Shut while the schema is not the one that this server needs: requests are refused instead of failing on the way. */
@Injectable()
export class SchemaGate {
  #reason: string | undefined;

  /** Why it is shut; undefined while it is open. */
  get reason(): string | undefined {
    return this.#reason;
  }

  shut(reason: string): void {
    this.#reason = reason;
  }

  open(): void {
    this.#reason = undefined;
  }

  readonly onRequest: onRequestHookHandler = (request, reply, done) => {
    if (this.#reason === undefined || OPEN.test(request.url)) {
      done();
      return;
    }
    sendProblem(reply, unavailable('schema.behind', this.#reason));
  };
}
