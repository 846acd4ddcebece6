import { Projection, removeWhere, upsert, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightEvents } from '../events.js';
import { ofFlight } from '../columns.js';

export const flightStateTable: TableDefinition = {
  source: 'libs/flight/src/processing-state/flight-state.projection.ts',
  schema: 'flight',
  name: 'flight_state',
  columns: {
    flight_id: 'text',
    status: 'text',
    frames_processed: 'integer',
    frames_total: 'integer',
    current_frame: 'integer',
    blocked: 'boolean',
    search_grid_size: 'integer',
    created_at: 'timestamptz',
    updated_at: 'timestamptz',
  },
  key: ['flight_id'],
  owner: ofFlight,
  nullable: ['current_frame', 'search_grid_size'],
  checks: {
    frames_processed: 'frames_processed >= 0',
    frames_total: 'frames_total >= 0',
    current_frame: 'current_frame >= 0',
    search_grid_size: 'search_grid_size >= 0',
  },
  indexes: {
    flight_state_history: ['status', 'updated_at'],
    // The processing states of all flights in a time, whatever their status.
    flight_state_updated: ['updated_at', 'flight_id'],
  },
  fillfactor: 50,
};

export const flightState = new Projection<FlightEvents>('flight_state', 1, flightStateTable)
  .on('FlightStateSaved', (event) =>
    upsert({
      flight_id: flightIdOf(event),
      status: event.data.status,
      frames_processed: event.data.framesProcessed,
      frames_total: event.data.framesTotal,
      current_frame: event.data.currentFrame,
      blocked: event.data.blocked,
      search_grid_size: event.data.searchGridSize,
      created_at: event.data.createdAt,
      updated_at: event.data.updatedAt,
    }),
  )
  .on('FlightDeleted', (event) => removeWhere({ flight_id: flightIdOf(event) }));
