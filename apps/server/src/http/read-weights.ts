import type { FastifyRequest } from 'fastify';

/** Fields of a query, not checked yet. */
type Fields = Readonly<Record<string, unknown>>;

/** Reads of up to so many rows of frames are light. */
const LIGHT_ROWS = 1_000;
/** The most that a read returns without a limit. */
const ALL_ROWS = 100_000;
/** A flight or a processing state, with its free-form JSON, costs as much as so many frames. */
const ROWS_OF_ITEM = 10;
/** The limit of a page without one. */
const PAGE = 100;

/** Two of the most that one caller has at a time: what is read can be as large as an answer can be. */
const WHOLE = 2;

const light = () => 0;
const heavy = () => 1;
const byRows = (rows: (fields: Fields) => number) => (fields: Fields) => (rows(fields) <= LIGHT_ROWS ? 0 : 1);
/** Of lists over everything. */
const page = byRows(({ limit }) => ROWS_OF_ITEM * numberOr(PAGE, limit));

/** What a read can cost, by the name of its query, and the route that leads to it. */
const reads: readonly (readonly [name: string, route: string, weight: (fields: Fields) => number])[] = [
  ['GetFrameResults', '/v1/flights/:id/frames', byRows(framesOf)],
  ['GetHeadingHistory', '/v1/flights/:id/headings', byRows(({ last }) => numberOr(ALL_ROWS, last))],
  ['GetWaypoints', '/v1/flights/:id/waypoints', byRows(({ limit }) => numberOr(ALL_ROWS, limit))],
  ['GetGeofences', '/v1/flights/:id/geofences', heavy],
  ['GetFrameMinutes', '/v1/flights/:id/frame-minutes', heavy],
  ['GetChunkStates', '/v1/flights/:id/chunks', () => WHOLE],
  // However few are asked for: they wait for each other.
  ['GetFlightEvents', '/v1/flights/:id/events', heavy],
  ['GetEvents', '/v1/events', heavy],
  ['ListFlights', '/v1/flights', page],
  ['GetProcessingHistory', '/v1/processing-history', page],
];

const byName = new Map(reads.map(([name, , weight]) => [name, weight]));
const byRoute = new Map(reads.map(([, route, weight]) => [route, weight]));

/** Whether a read is a list over everything: however short, a database with many rows looks through them. */
export const isList = (request: FastifyRequest): boolean => readOf(request).weight === page;

/** 0 for a light read. SQL counts as light here: it has limits of its own. */
export function weightOfRead(request: FastifyRequest): number {
  const { weight = light, fields } = readOf(request);
  // A read with asOf folds the history of a flight.
  return Math.max(weight(fields), fields['asOf'] == null ? 0 : 1);
}

/** How a read is weighed, and the fields that it is weighed by. */
function readOf({ routeOptions: { url = '' }, query, body }: FastifyRequest) {
  if (url !== '/v1/queries') return { weight: byRoute.get(url), fields: fieldsOf(query) };
  const { query: name, parameters } = fieldsOf(body);
  return { weight: byName.get(String(name)), fields: fieldsOf(parameters) };
}

const fieldsOf = (value: unknown): Fields =>
  typeof value === 'object' && value !== null ? (value as Fields) : {};

function framesOf({ limit, from, to }: Fields): number {
  return Math.min(numberOr(ALL_ROWS, limit), numberOr(Infinity, to) - numberOr(0, from) + 1);
}

/** What is no number is refused later. */
const numberOr = (otherwise: number, value: unknown): number => (value == null ? otherwise : Number(value));
