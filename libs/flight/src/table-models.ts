import type { Projection } from '#lib/projections';
import type { TableModel } from '#lib/timescale';
import { flightsTable } from './flight/flights.projection.js';

/** The tables of the flight context, for operations on tables: hypertables, retention, archives. */
export const tableModelsOf = (projections: readonly Projection[]): readonly TableModel[] =>
  projections.map(({ table }) => ({
    schema: table.schema,
    name: table.name,
    ...(table.timeColumn && {
      timeColumn: table.timeColumn,
      // One row per frame, whatever its time (docs/decisions/0003).
      identity: table.key.filter((column) => column !== table.timeColumn),
      owner: { table: `${flightsTable.schema}.${flightsTable.name}`, key: 'id', column: 'flight_id' },
    }),
  }));
