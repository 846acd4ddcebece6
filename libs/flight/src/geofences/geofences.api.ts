import { Controller, Delete, Get, Post, Put } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsKnownId, Optional } from '#lib/platform';
import {
  Answers,
  Freshness,
  Id,
  listOf,
  Needs,
  object,
  Operation,
  refuseOtherId,
  Sender,
  shape,
  stored,
  Tag,
  text,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import {
  AsOf,
  checked,
  heavy,
  query,
  type CommandOptions,
  type ContextPart,
  type ReadOptions,
} from '#lib/waylog';
import type { Row } from '#lib/projections';
import type { GeofenceData } from '../events.js';
import { FlightReads } from '../flight-reads.js';
import { OfFlight } from '../query-rules.js';
import { CommandResult, FlightId, flightRecorded } from '../rest.js';
import { addGeofence, AddGeofence } from './add-geofence.js';
import { removeGeofence, RemoveGeofence } from './remove-geofence.js';
import { updateGeofence, UpdateGeofence } from './update-geofence.js';
import { Geofence, NewGeofence } from './geofence.js';
import { geofences, geofencesTable } from './geofences.projection.js';

/** A geofence as it is stored. */
export type GeofenceView = GeofenceData;

export const geofenceView = (row: Row): GeofenceView => ({
  id: row['id'] as string,
  northWest: { lat: row['nw_lat'] as number, lon: row['nw_lon'] as number },
  southEast: { lat: row['se_lat'] as number, lon: row['se_lon'] as number },
});

export class GetGeofences extends Query<GeofenceView[]> {
  constructor(
    readonly flightId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}

@QueryHandler(GetGeofences)
export class GetGeofencesHandler implements IQueryHandler<GetGeofences> {
  constructor(private readonly reads: FlightReads) {}

  async execute({ flightId, options }: GetGeofences): Promise<GeofenceView[]> {
    checked(OfFlight, { flightId, asOf: options.asOf });
    const rows = await this.reads.of(flightId, options, (source) =>
      source.select({ table: geofencesTable, where: { flight_id: flightId }, orderBy: ['id'] }),
    );
    return rows.map(geofenceView);
  }
}

export const StoredGeofence = shape('StoredGeofence', () => stored(Geofence));
const StoredGeofences = listOf('StoredGeofences', StoredGeofence);
const GeofenceAdded = shape('GeofenceAdded', () => object({ ...flightRecorded, geofenceId: text }));

const getGeofences = query({
  query: GetGeofences,
  handler: GetGeofencesHandler,
  parameters: OfFlight,
  make: ({ flightId }, options) => new GetGeofences(flightId, options),
  weight: heavy,
});

// The id is in the path, and can be older than the rule for new ones.
class GeofenceInPath extends NewGeofence {
  @Optional() @IsKnownId() override readonly id?: string | null | undefined;
}

@Tag('route')
@Controller('v1/flights/:id')
export class GeofencesController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('geofences')
  @Needs('reader', getGeofences)
  @Operation({ summary: 'List geofences' })
  @Answers(200, StoredGeofences)
  geofences(@FlightId() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetGeofences(id, { ...options, asOf }));
  }

  @Post('geofences')
  @Needs('operator')
  @Operation({ summary: 'Add a geofence' })
  @Answers(201, GeofenceAdded)
  addGeofence(
    @FlightId() flightId: string,
    @ValidBody(NewGeofence) geofence: NewGeofence,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new AddGeofence({ ...sender, flightId, geofence }));
  }

  @Put('geofences/:geofenceId')
  @Needs('operator')
  @Operation({ summary: 'Update a geofence' })
  @Answers(200, CommandResult)
  updateGeofence(
    @FlightId() flightId: string,
    @Id('geofenceId', 'g1') id: string,
    @ValidBody(GeofenceInPath) geofence: GeofenceInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('id', geofence.id, id);
    return this.commands.execute(new UpdateGeofence({ ...sender, flightId, geofence: { ...geofence, id } }));
  }

  @Delete('geofences/:geofenceId')
  @Needs('operator')
  @Operation({ summary: 'Remove a geofence' })
  @Answers(200, CommandResult)
  removeGeofence(
    @FlightId() flightId: string,
    @Id('geofenceId', 'g1') geofenceId: string,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new RemoveGeofence({ ...sender, flightId, geofenceId }));
  }
}

export const geofencesPart: ContextPart = {
  commands: [addGeofence, updateGeofence, removeGeofence],
  projections: [geofences],
  queries: [getGeofences],
  controllers: [GeofencesController],
};
