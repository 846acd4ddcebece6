import { Inject, Injectable } from '@nestjs/common';
import pg from 'pg';
import type { EventStore } from '#lib/event-store';
import { EVENT_STORE, flightProjections } from '#lib/flight';
import { leastPosition, loadCheckpoints, Projector, type ProjectorState } from '#lib/projections';

export interface Lag {
  /** Where the tables stand. */
  readonly position: string;
  /** Events in the log that are not in the tables yet. */
  readonly events: number;
  /** Age of the oldest of them; 0 when there is none. */
  readonly seconds: number;
  /** What the projector of this process does; another one may lead. */
  readonly projector: ProjectorState;
  readonly lastError?: string;
}

/** How far the tables are behind the log. */
@Injectable()
export class ProjectionLag {
  constructor(
    @Inject(EVENT_STORE) private readonly store: EventStore,
    private readonly pool: pg.Pool,
    private readonly projector: Projector,
  ) {}

  async measure(): Promise<Lag> {
    const checkpoints = await loadCheckpoints(
      this.pool,
      flightProjections.map(({ name }) => name),
    );
    const position = leastPosition(this.store, checkpoints);
    const { events, since } = await this.store.backlog(position);
    const { state, lastError } = this.projector.status;
    return {
      position,
      events,
      seconds: since ? Math.max(0, (Date.now() - Date.parse(since)) / 1_000) : 0,
      projector: state,
      ...(state === 'failed' && lastError && { lastError: lastError.message }),
    };
  }
}
