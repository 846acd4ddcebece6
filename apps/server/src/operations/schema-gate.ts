import { Injectable } from '@nestjs/common';
import type { onRequestHookHandler } from 'fastify';
import { unavailable } from '#lib/platform';
import { sendProblem } from '../http/problem.js';

/** The routes that stay open without the tables: the operator's API, probes, metrics and the documents. */
const OPEN = /^\/(v1\/admin|health|metrics|docs|openapi\.json)(\/|\?|-|$)/;

/** Closed while the schema is not the one that this server needs: requests are refused instead of failing later. */
@Injectable()
export class SchemaGate {
  #reason: string | undefined;

  /** Why it is closed; undefined while it is open. */
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
