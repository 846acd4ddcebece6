import { Controller, Delete, Get, Patch, Post, Put, Res } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import {
  AsOf,
  CreateFlight,
  DeleteFlight,
  EraseFlight,
  FlightChanges,
  FlightFilter,
  FlightStateFields,
  GetFlight,
  GetFlightState,
  GetProcessingHistory,
  HistoryFilter,
  ImportedFlight,
  ListFlights,
  SaveFlightState,
  UpdateFlight,
} from '#lib/flight';
import type { CommandOptions, ReadOptions } from '#lib/waylog';
import { Answers, setPosition } from './answer.js';
import { Freshness, Id, refuseOtherId, Sender, ValidBody, ValidQuery } from './input.js';

@ApiTags('flights')
@Controller('v1')
export class FlightsController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Post('flights')
  @ApiOperation({ summary: 'Create a flight' })
  @Answers(201, 'CommandResult')
  create(@ValidBody(ImportedFlight) flight: ImportedFlight, @Sender() sender: CommandOptions) {
    return this.commands.execute(new CreateFlight({ ...sender, flight }));
  }

  @Get('flights')
  @ApiOperation({ summary: 'List flights' })
  @Answers(200, 'FlightPage')
  list(@ValidQuery(FlightFilter) filter: FlightFilter, @Freshness() options: ReadOptions) {
    return this.queries.execute(new ListFlights(filter, options));
  }

  @Get('flights/:id')
  @ApiOperation({ summary: 'Read a flight' })
  @Answers(200, 'Flight')
  get(@Id() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetFlight(id, { ...options, asOf }));
  }

  @Patch('flights/:id')
  @ApiOperation({ summary: 'Update a flight' })
  @Answers(200, 'CommandResult')
  update(
    @Id() flightId: string,
    @ValidBody(FlightChanges) changes: FlightChanges,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('id', changes.id, flightId);
    return this.commands.execute(new UpdateFlight({ ...sender, flightId, changes }));
  }

  @Delete('flights/:id')
  @ApiOperation({ summary: 'Delete a flight', description: 'Its events stay in the log.' })
  @Answers(204)
  async delete(
    @Id() flightId: string,
    @Sender() sender: CommandOptions,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    setPosition(reply, await this.commands.execute(new DeleteFlight({ ...sender, flightId })));
  }

  @Post('flights/:id/erase')
  @ApiOperation({
    summary: "Erase a flight's sensitive data",
    description: 'Erases it for good, also of a deleted flight. The rest can still be read and deleted.',
  })
  @Answers(200, 'ErasureResult')
  erase(@Id() flightId: string, @Sender() sender: CommandOptions) {
    return this.commands.execute(new EraseFlight({ ...sender, flightId }));
  }

  @Get('flights/:id/state')
  @ApiOperation({ summary: 'Read the processing state' })
  @Answers(200, 'FlightState')
  getState(@Id() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetFlightState(id, { ...options, asOf }));
  }

  @Put('flights/:id/state')
  @ApiOperation({ summary: 'Save the processing state' })
  @Answers(200, 'CommandResult')
  saveState(
    @Id() flightId: string,
    @ValidBody(FlightStateFields) state: FlightStateFields,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('flightId', state.flightId, flightId);
    return this.commands.execute(new SaveFlightState({ ...sender, flightId, state }));
  }

  @Get('processing-history')
  @ApiOperation({ summary: 'Search the processing states of all flights' })
  @Answers(200, 'FlightStatePage')
  history(@ValidQuery(HistoryFilter) filter: HistoryFilter, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetProcessingHistory(filter, options));
  }
}
