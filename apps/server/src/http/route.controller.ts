import { Controller, Delete, Get, Patch, Post, Put } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import {
  AddGeofence,
  AddWaypoint,
  AsOf,
  GetGeofences,
  GetWaypoints,
  MAX_BATCH,
  NewGeofence,
  NewWaypoint,
  RemoveGeofence,
  UpdateGeofence,
  UpdateWaypoint,
  UpdateWaypoints,
  Waypoint,
  WaypointsQuery,
} from '#lib/flight';
import type { CommandOptions, ReadOptions } from '#lib/waylog';
import { IsKnownId, Optional } from '#lib/platform';
import { Answers } from './answer.js';
import { Freshness, Id, refuseOtherId, Sender, ValidBodies, ValidBody, ValidQuery } from './input.js';

// The id is in the path, and can be older than the rule for new ones.
class WaypointInPath extends NewWaypoint {
  @Optional() @IsKnownId() override readonly id?: string | null | undefined;
}
class GeofenceInPath extends NewGeofence {
  @Optional() @IsKnownId() override readonly id?: string | null | undefined;
}

/** Waypoints and geofences. */
@ApiTags('route')
@Controller('v1/flights/:id')
export class RouteController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('waypoints')
  @ApiOperation({ summary: 'List waypoints' })
  @Answers(200, 'StoredWaypoints')
  waypoints(
    @Id() id: string,
    @ValidQuery(WaypointsQuery) { limit, asOf }: WaypointsQuery,
    @Freshness() options: ReadOptions,
  ) {
    return this.queries.execute(new GetWaypoints(id, limit, { ...options, asOf }));
  }

  @Post('waypoints')
  @ApiOperation({ summary: 'Add a waypoint' })
  @Answers(201, 'WaypointAdded')
  addWaypoint(
    @Id() flightId: string,
    @ValidBody(NewWaypoint) waypoint: NewWaypoint,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new AddWaypoint({ ...sender, flightId, waypoint }));
  }

  @Put('waypoints/:waypointId')
  @ApiOperation({ summary: 'Update a waypoint' })
  @Answers(200, 'CommandResult')
  updateWaypoint(
    @Id() flightId: string,
    @Id('waypointId') id: string,
    @ValidBody(WaypointInPath) waypoint: WaypointInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('id', waypoint.id, id);
    return this.commands.execute(new UpdateWaypoint({ ...sender, flightId, waypoint: { ...waypoint, id } }));
  }

  @Patch('waypoints')
  @ApiOperation({
    summary: 'Update many waypoints',
    description: 'Answers which ids are not waypoints of the flight.',
  })
  @Answers(200, 'BatchResult')
  updateWaypoints(
    @Id() flightId: string,
    @ValidBodies(Waypoint, MAX_BATCH) waypoints: Waypoint[],
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new UpdateWaypoints({ ...sender, flightId, waypoints }));
  }

  @Get('geofences')
  @ApiOperation({ summary: 'List geofences' })
  @Answers(200, 'StoredGeofences')
  geofences(@Id() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetGeofences(id, { ...options, asOf }));
  }

  @Post('geofences')
  @ApiOperation({ summary: 'Add a geofence' })
  @Answers(201, 'GeofenceAdded')
  addGeofence(
    @Id() flightId: string,
    @ValidBody(NewGeofence) geofence: NewGeofence,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new AddGeofence({ ...sender, flightId, geofence }));
  }

  @Put('geofences/:geofenceId')
  @ApiOperation({ summary: 'Update a geofence' })
  @Answers(200, 'CommandResult')
  updateGeofence(
    @Id() flightId: string,
    @Id('geofenceId') id: string,
    @ValidBody(GeofenceInPath) geofence: GeofenceInPath,
    @Sender() sender: CommandOptions,
  ) {
    refuseOtherId('id', geofence.id, id);
    return this.commands.execute(new UpdateGeofence({ ...sender, flightId, geofence: { ...geofence, id } }));
  }

  @Delete('geofences/:geofenceId')
  @ApiOperation({ summary: 'Remove a geofence' })
  @Answers(200, 'CommandResult')
  removeGeofence(
    @Id() flightId: string,
    @Id('geofenceId') geofenceId: string,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new RemoveGeofence({ ...sender, flightId, geofenceId }));
  }
}
