// What several tables of the flight context have.

/** A row of this table belongs to a flight. */
export const ofFlight = { column: 'flight_id', table: 'flights', key: 'id' } as const;

/** Degrees north, WGS84. */
export const latitude = (column: string): string => `${column} between -90 and 90`;
/** Degrees east, WGS84. */
export const longitude = (column: string): string => `${column} between -180 and 180`;
/** Degrees clockwise from north. */
export const headingRange = 'heading >= 0 and heading < 360';
