import { Injectable } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import { queriesOf, type ReadOptions, RunningContexts } from '#lib/waylog';
import { badFields, invalidInput, unavailable, type Writable } from '#lib/platform';
import { contexts } from '../../../contexts.js';
import { jsonInPieces } from '../http/json-in-pieces.js';
import { CachedAnswers, cacheKey } from './cached-answers.js';
import { underParameters } from './commands.js';
import { goingOn, secondsSince, within, type GoesOn } from './deadline.js';
import { SqlParameters, type QueryRequest, type QueryResponse } from './models.js';
import type { JsonAnswer } from './sql-answer.js';
import { ReadOnlySql, type StatementOptions } from './read-only-sql.js';
import { thingIn } from './stream-keys.js';
import { followsFromTables, isSql } from './sql-text.js';

/** Every query by the name of its class. */
export const namedQueries = queriesOf(contexts);

/** Tables that follow others later than the checkpoint of their context says. */
export const keptByFollowers = contexts.flatMap(({ followers }) => followers.flatMap(({ keeps }) => keeps));

/** The longest that SQL waits for its minimum position; the same as for any other read. */
const MAX_WAIT_MS = 5_000;

const SQL_GRACE_SECONDS = 1;

const BEFORE_DATA = Buffer.from('{"success":true,"data":');

/** Runs queries by their names on the query bus, and SQL as the reading role. */
@Injectable()
export class NamedQueries {
  constructor(
    private readonly bus: QueryBus,
    private readonly sql: ReadOnlySql,
    private readonly contexts: RunningContexts,
    private readonly cache: CachedAnswers,
  ) {}

  /**
   * A `QueryResponse` as the bytes of its JSON, whose data is JSON already. Throws `query.unknown`, `input.invalid`
   * with fields such as `parameters.flightId`, `query.timeout`, and the errors of the query and of `ReadOnlySql.run`.
   */
  async run(
    request: QueryRequest,
    options: ReadOptions,
    { actor, gone, goesOn }: { readonly actor: string; readonly gone: AbortSignal; readonly goesOn: GoesOn },
  ): Promise<Buffer> {
    const began = performance.now();
    const { query, timeout } = request;
    const { json, rowCount, cacheHit } = isSql(query)
      ? // A statement has the same limit in the database, which reports more; this one covers what comes before it.
        await within(
          timeout && timeout + SQL_GRACE_SECONDS,
          this.#sql(request, options, { caller: actor, signal: gone }),
          queryTimeout,
        )
      : await within(timeout, goingOn(goesOn, this.#named(request, options)), queryTimeout);
    const rest: Omit<QueryResponse, 'data' | 'success'> = {
      executionTime: secondsSince(began),
      rowCount,
      cacheHit,
    };
    return Buffer.concat([BEFORE_DATA, json, Buffer.from(`,${JSON.stringify(rest).slice(1)}`)]);
  }

  async #named({ query: name, parameters, useCache }: QueryRequest, options: ReadOptions) {
    const named = namedQueries.get(name);
    if (!named) throw unknownQuery(name);
    const fields = { ...parameters };
    const errors = badFields(named.parameters, fields);
    if (errors.length > 0) throw underParameters(invalidInput(errors));
    const { asOf } = fields as { asOf?: string | null };
    const own = this.contexts.ofQuery(named);
    const thing = thingIn(fields);
    // Rows of a thing can also follow from events of other streams, where there are other types or contexts.
    const isAlone = thing !== undefined && own?.context.streams.every((stream) => stream === thing.stream);
    const streamId = isAlone ? thing.stream.category.streamOf(thing.id) : undefined;
    const query = named.make(fields, { ...options, ...(typeof asOf === 'string' && { asOf }) });
    const read = async () =>
      await answerOf(
        await this.bus.execute(query).catch((error: unknown) => {
          throw underParameters(error);
        }),
      );
    if (!useCache) return { ...(await read()), cacheHit: false };
    // Answers from the log or the rollup do not belong to a state of the tables.
    if (named.isApart || typeof asOf === 'string') {
      this.cache.pass();
      return { ...(await read()), cacheHit: false };
    }
    // First wait for the minimum position, then determine the state of the tables.
    if (options.minPosition !== undefined) {
      await (own?.watch ?? this.contexts).waitFor(options.minPosition, MAX_WAIT_MS);
      if (thing) await own?.watch.refuseParked(thing.stream.category.streamOf(thing.id), options.minPosition);
    }
    return this.cache.get(cacheKey(name, fields), streamId, read);
  }

  async #sql(
    { query: sql, parameters, timeout, useCache }: QueryRequest,
    { minPosition }: ReadOptions,
    sender: Pick<StatementOptions, 'caller' | 'signal'>,
  ) {
    const fields = (parameters ?? {}) as SqlParameters;
    const errors = badFields(SqlParameters, fields);
    if (errors.length > 0) throw underParameters(invalidInput(errors));
    if (minPosition !== undefined) await this.contexts.waitFor(minPosition, MAX_WAIT_MS);
    const options: Writable<StatementOptions> = { ...sender };
    if (fields.values) options.values = fields.values;
    if (typeof fields.maxRows === 'number') options.maxRows = fields.maxRows;
    if (typeof timeout === 'number') options.timeout = timeout;
    const read = () => this.sql.run(sql, options);
    if (!useCache) return { ...(await read()), cacheHit: false };
    if (!followsFromTables(sql, fields.values ?? [], keptByFollowers)) {
      this.cache.pass();
      return { ...(await read()), cacheHit: false };
    }
    return this.cache.get(cacheKey(sql, [fields.values ?? [], fields.maxRows]), undefined, read);
  }
}

/** The form of an answer in `data`, and its number of rows: for a page the number of its items. */
async function answerOf(answer: unknown): Promise<JsonAnswer> {
  if (Array.isArray(answer)) return { json: await jsonInPieces({ rows: answer }), rowCount: answer.length };
  if (typeof answer !== 'object' || answer === null)
    return { json: await jsonInPieces({ value: answer }), rowCount: 1 };
  const items = 'items' in answer && Array.isArray(answer.items) ? answer.items : undefined;
  return { json: await jsonInPieces(answer), rowCount: items?.length ?? 1 };
}

const unknownQuery = (name: string) =>
  invalidInput(
    [
      {
        field: 'query',
        message: `is ${JSON.stringify(name.slice(0, 100))}, which is no query. There are ${[...namedQueries.keys()].join(', ')}, and SQL that begins with select, with or values`,
      },
    ],
    'query.unknown',
  );

const queryTimeout = (seconds: number) =>
  unavailable(
    'query.timeout',
    `No answer within ${seconds} s. A read changes nothing: ask for less, or with a longer timeout.`,
  );
