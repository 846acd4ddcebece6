import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsInt, Max, Min } from 'class-validator';
import pg from 'pg';
import { IsTimestamp, notFound, Optional, parseTimestamp, type Timestamp, FreeText } from '#lib/platform';
import type { Row } from '#lib/projections';
import type { ProcessingState } from '../events.js';
import type { ReadOptions } from '#lib/waylog';
import { FlightReads } from '../flight-reads.js';
import { PageOf, readPage, type Condition, type Page, type PagedList } from '#lib/waylog';
import { checked, OfFlight } from '../query-rules.js';
import { flightStateTable } from './flight-state.projection.js';

/** A processing state with its flight. */
export interface FlightStateView extends ProcessingState {
  readonly flightId: string;
}

/** The processing state of a flight, from which a restarted module continues. */
export class GetFlightState extends Query<FlightStateView> {
  constructor(
    readonly flightId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetFlightState)
export class GetFlightStateHandler implements IQueryHandler<GetFlightState> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ flightId, options }: GetFlightState): Promise<FlightStateView> {
    checked(OfFlight, { flightId, asOf: options.asOf });
    const [row] = await this.reads.ofFlight(flightId, options, (source) =>
      source.select({ table: flightStateTable, where: { flight_id: flightId }, orderBy: ['flight_id'] }),
    );
    if (!row)
      throw notFound('flight-state.not-found', `Flight ${flightId} had no processing state.`, { flightId });
    return flightStateView(row);
  }
}

export class HistoryFilter extends PageOf {
  @Optional() @FreeText(50) readonly status?: string | null | undefined;
  /** Bounds on the time of the last change, both inclusive. */
  @Optional() @IsTimestamp() readonly from?: string | null | undefined;
  @Optional() @IsTimestamp() readonly to?: string | null | undefined;
  @Optional() @IsInt() @Min(1) @Max(1_000) readonly limit?: number | null | undefined;
}

/** The processing states of all flights, the one that changed first, first. */
export class GetProcessingHistory extends Query<Page<FlightStateView>> {
  constructor(
    readonly filter: HistoryFilter = {},
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

const historyList: PagedList = {
  table: flightStateTable,
  from: 'flight.flight_state t',
  orderBy: ['updated_at', 'flight_id'],
};

@QueryHandler(GetProcessingHistory)
export class GetProcessingHistoryHandler implements IQueryHandler<GetProcessingHistory> {
  constructor(
    private readonly reads: FlightReads,
    private readonly pool: pg.Pool,
  ) {}

  async execute({ filter, options }: GetProcessingHistory): Promise<Page<FlightStateView>> {
    checked(HistoryFilter, filter);
    await this.reads.live(options);
    const conditions: Condition[] = [
      ['t.status =', filter.status],
      ['t.updated_at >=', filter.from && parseTimestamp(filter.from)],
      ['t.updated_at <=', filter.to && parseTimestamp(filter.to)],
    ];
    return this.reads.list(() => readPage(this.pool, historyList, conditions, filter, flightStateView));
  }
}

const flightStateView = (row: Row): FlightStateView => ({
  flightId: row['flight_id'] as string,
  status: row['status'] as string,
  framesProcessed: row['frames_processed'] as number,
  framesTotal: row['frames_total'] as number,
  currentFrame: row['current_frame'] as number | null,
  blocked: row['blocked'] as boolean,
  searchGridSize: row['search_grid_size'] as number | null,
  createdAt: row['created_at'] as Timestamp,
  updatedAt: row['updated_at'] as Timestamp,
});
