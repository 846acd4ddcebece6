import type { Projection } from '#lib/projections';
import type { ModelDefinition } from '#lib/timescale';

/** The file that describes the table of each projection. */
const sourceFiles: Readonly<Record<string, string>> = {
  flights: 'flight/flights.projection.ts',
  waypoints: 'waypoints/waypoints.projection.ts',
  geofences: 'geofences/geofences.projection.ts',
  flight_state: 'processing-state/flight-state.projection.ts',
  frame_results: 'frames/frame-results.projection.ts',
  heading_history: 'headings/heading-history.projection.ts',
  flight_days: 'days/flight-days.projection.ts',
  flight_images: 'images/flight-images.projection.ts',
  chunks: 'route-chunks/chunks.projection.ts',
};

/** The tables of the flight context, for code that validates or shows a schema. */
export const modelsOf = (projections: readonly Projection[]): readonly ModelDefinition[] =>
  projections.map(({ name, table }) => ({
    name,
    serviceName: 'flight',
    schema: table.schema,
    table: table.name,
    columns: table.columns,
    key: table.key,
    ...(table.timeColumn !== undefined && { timeColumn: table.timeColumn }),
    // A fact about the data; no foreign key enforces it (docs/decisions/0005).
    relationships: 'flight_id' in table.columns ? ['flight_id -> flight.flights.id'] : [],
    sourceFile: `libs/flight/src/${sourceFiles[name] ?? 'projections.ts'}`,
  }));
