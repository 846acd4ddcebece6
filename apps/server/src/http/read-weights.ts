import type { FastifyRequest } from 'fastify';
import { queryOfRoute } from '#lib/rest';
import type { AnyQuery, SentFields } from '#lib/waylog';

/** What a read weighs; of a list it is said that it is one. */
export type WeightOfRead = (request: FastifyRequest) => { readonly weight: number; readonly isList: boolean };

/**
 * By the query that a route answers, or that is asked for by name. What names none is light: so is SQL here, which has
 * limits of its own.
 */
export const weightOfRead =
  (queries: ReadonlyMap<string, AnyQuery>): WeightOfRead =>
  (request) => {
    const { query, fields } = readOf(request, queries);
    return {
      // A read with asOf folds a history.
      weight: Math.max(query?.weight.of(fields) ?? 0, fields['asOf'] == null ? 0 : 1),
      isList: query?.weight.isList ?? false,
    };
  };

/** The query of a read, and the fields that it is weighed by. */
function readOf(request: FastifyRequest, queries: ReadonlyMap<string, AnyQuery>) {
  if (request.routeOptions.url !== '/v1/queries')
    return { query: queryOfRoute(request), fields: fieldsOf(request.query) };
  const { query: name, parameters } = fieldsOf(request.body);
  return { query: queries.get(String(name)), fields: fieldsOf(parameters) };
}

const fieldsOf = (value: unknown): SentFields =>
  typeof value === 'object' && value !== null ? (value as SentFields) : {};
