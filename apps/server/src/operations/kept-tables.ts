import { Inject, Injectable } from '@nestjs/common';
import type pg from 'pg';
import type { EventStore, Position } from '#lib/event-store';
import { EVENT_STORE, RunningContexts, QUERY_POOL } from '#lib/waylog';
import type { Tables } from '../http/writes-ahead.js';

/** How long a look counts. */
const LOOK_MS = 1_000;

/** The tables, as far as callers wait for them before they write more. */
@Injectable()
export class KeptTables implements Tables {
  #looked = -Infinity;
  #areKept: Promise<boolean> = Promise.resolve(false);

  constructor(
    private readonly contexts: RunningContexts,
    @Inject(EVENT_STORE) private readonly store: EventStore,
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
  ) {}

  waitFor(position: Position, ms: number): Promise<void> {
    return this.contexts.waitFor(position, ms);
  }

  compare(a: Position, b: Position): number {
    return this.store.compare(a, b);
  }

  /** Not while a projector is paused, fails, or runs nowhere. */
  areKept(): Promise<boolean> {
    if (performance.now() - this.#looked > LOOK_MS) {
      this.#looked = performance.now();
      this.#areKept = this.#look().catch(() => false);
    }
    return this.#areKept;
  }

  async #look(): Promise<boolean> {
    const projectors = new Set(this.contexts.declared.map(({ name }) => name));
    const states = await this.contexts.states(this.pool);
    const own = states.filter(({ projector }) => projectors.has(projector));
    return own.length > 0 && own.every(({ state }) => state === 'active' || state === 'catching-up');
  }
}
