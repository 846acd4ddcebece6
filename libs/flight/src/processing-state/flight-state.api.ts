import { Controller, Get, Put, Inject } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { FreeText, IsTimestamp, notFound, Optional, parseTimestamp, type Timestamp } from '#lib/platform';
import {
  Answers,
  Freshness,
  Needs,
  Operation,
  pageOf,
  referenceTo,
  refuseOtherId,
  Sender,
  shape,
  stored,
  Tag,
  time,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  AsOf,
  byPage,
  checked,
  PageOf,
  query,
  readPage,
  type CommandOptions,
  type Condition,
  type ContextPart,
  type Page,
  type PagedList,
  type ReadOptions,
  QUERY_POOL,
} from '#lib/waylog';
import { IsInt, Max, Min } from 'class-validator';
import type pg from 'pg';
import type { Row } from '#lib/projections';
import type { ProcessingState } from '../events.js';
import { FlightReads } from '../flight-reads.js';
import { OfFlight } from '../query-rules.js';
import { CommandResult, FlightId, sampleFlightId } from '../rest.js';
import { FlightStateFields, saveFlightState, SaveFlightState } from './save-flight-state.js';
import { flightState, flightStateTable } from './flight-state.projection.js';

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
    const [row] = await this.reads.of(flightId, options, (source) =>
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
    @Inject(QUERY_POOL) private readonly pool: pg.Pool,
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

const FlightState = shape('FlightState', () =>
  stored(FlightStateFields, { flightId: sampleFlightId, createdAt: time, updatedAt: time }),
);
const FlightStatePage = shape('FlightStatePage', () => pageOf(referenceTo(FlightState)));

const getFlightState = query({
  query: GetFlightState,
  handler: GetFlightStateHandler,
  parameters: OfFlight,
  make: ({ flightId }, options) => new GetFlightState(flightId, options),
});

const getProcessingHistory = query({
  query: GetProcessingHistory,
  handler: GetProcessingHistoryHandler,
  parameters: HistoryFilter,
  make: (filter, options) => new GetProcessingHistory(filter, options),
  weight: byPage,
});

@Tag('flights')
@Controller('v1')
export class FlightStateController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('flights/:id/state')
  @Needs('reader', getFlightState)
  @Operation({ summary: 'Read the processing state' })
  @Answers(200, FlightState)
  getState(@FlightId() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetFlightState(id, { ...options, asOf }));
  }

  @Put('flights/:id/state')
  @Needs('operator')
  @Operation({ summary: 'Save the processing state' })
  @Answers(200, CommandResult)
  saveState(
    @FlightId() flightId: string,
    @ValidBody(FlightStateFields) state: FlightStateFields,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('flightId', state.flightId, flightId);
    return this.commands.execute(new SaveFlightState({ ...sender, flightId, state }));
  }

  @Get('processing-history')
  @Needs('reader', getProcessingHistory)
  @Operation({ summary: 'Search the processing states of all flights' })
  @Answers(200, FlightStatePage)
  history(@ValidQuery(HistoryFilter) filter: HistoryFilter, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetProcessingHistory(filter, options));
  }
}

export const processingStatePart: ContextPart = {
  commands: [saveFlightState],
  projections: [flightState],
  queries: [getFlightState, getProcessingHistory],
  controllers: [FlightStateController],
};
