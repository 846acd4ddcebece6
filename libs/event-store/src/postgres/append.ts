import type { LRUCache } from 'lru-cache';
import type { Pool } from 'pg';
import { asText, pgArray } from '#lib/platform';
import type { AppendOutcome, AppendRequest, ExpectedRevision } from '../event-store.js';
import type { Vantage } from '../snapshots.js';
import { encodeMetadata } from './metadata.js';

// The migrations `event-log` and `log-histories` create the functions and explain their parameters. If the log does not
// hold what this process has seen, nothing is appended to any stream, and the result is null.
const appendSql = `
  select key, accepted, repeated, first_revision, first_position, current_revision
    from log.append(case when log.holds($10, $11, $12) then $1 end, $2, $3, $4, $5, $6, $7, $8, $9)`;
const appendTogetherSql = appendSql.replace('log.append(', 'log.append_together(');
const appendExpectedSql = `
  select case when log.holds($10, $11, $12) then log.append_expected($1, $2, $3, $4, $5, $6, $7, $8, $9) end`;

/** The keys of streams by their ids. A stream never changes its key, so cached keys stay right. */
export type StreamKeys = LRUCache<string, string>;

/**
 * Records requests of different streams in one transaction: one round trip, one flush to disk. Undefined, with nothing
 * recorded, if the log is not in the history of the vantage, or lacks its event.
 */
export async function append(
  pool: Pool,
  keys: StreamKeys,
  requests: readonly AppendRequest[],
  vantage: Vantage,
): Promise<AppendOutcome[] | undefined> {
  return (
    (await appendExpected(pool, keys, requests, vantage)) ?? (await appendAny(pool, keys, requests, vantage))
  );
}

/** The fast path; undefined if it does not apply, or if a stream is not at its expected revision. */
async function appendExpected(
  pool: Pool,
  keys: StreamKeys,
  requests: readonly AppendRequest[],
  vantage: Vantage,
): Promise<AppendOutcome[] | undefined> {
  const streamKeys: string[] = [];
  const expected: number[] = [];
  const eventKeys: string[] = [];
  const revisions: number[] = [];
  for (const { streamId, expectedRevision, events } of requests) {
    const key = keys.get(streamId);
    if (typeof expectedRevision !== 'number' || key === undefined) return undefined;
    streamKeys.push(key);
    expected.push(expectedRevision);
    for (let ordinal = 0; ordinal < events.length; ordinal++) {
      eventKeys.push(key);
      revisions.push(expectedRevision + 1 + ordinal);
    }
  }
  const { rows } = await pool.query<[head: string | null]>({
    name: 'log.append-expected',
    text: appendExpectedSql,
    values: [
      pgArray(streamKeys),
      pgArray(expected),
      pgArray(eventKeys),
      pgArray(revisions),
      ...eventColumns(requests),
      ...vantage,
    ],
    rowMode: 'array',
    types: asText,
  });
  const head = rows[0]?.[0];
  if (head === null || head === undefined) return undefined;
  let position = BigInt(head);
  return requests.map(({ expectedRevision, events }) => ({
    accepted: true,
    firstRevision: Number(expectedRevision) + 1,
    positions: events.map(() => String(++position)),
    repeated: false,
  }));
}

type Row = [
  key: string,
  accepted: string,
  repeated: string,
  revision: string | null,
  position: string | null,
  current: string,
];

/** All requests or none: if one is not accepted, none is. Otherwise like `append`. */
export async function appendTogether(
  pool: Pool,
  keys: StreamKeys,
  requests: readonly AppendRequest[],
  vantage: Vantage,
): Promise<AppendOutcome[] | undefined> {
  return (
    (await appendExpected(pool, keys, requests, vantage)) ??
    (await appendAny(pool, keys, requests, vantage, {
      name: 'log.append-together',
      text: appendTogetherSql,
    }))
  );
}

/** The path for every kind of expectation, for new streams, and for repeats. */
async function appendAny(
  pool: Pool,
  keys: StreamKeys,
  requests: readonly AppendRequest[],
  vantage: Vantage,
  statement = { name: 'log.append', text: appendSql },
): Promise<AppendOutcome[] | undefined> {
  const of = requests.flatMap(({ events }, i) => events.map(() => i + 1));
  const ordinals = requests.flatMap(({ events }) => events.map((_, ordinal) => ordinal));
  const { rows } = await pool.query<Row>({
    ...statement,
    values: [
      requests.map(({ streamId }) => streamId).join('\n'),
      pgArray(requests.map(({ expectedRevision }) => codeOf(expectedRevision))),
      pgArray(of),
      pgArray(ordinals),
      ...eventColumns(requests),
      ...vantage,
    ],
    rowMode: 'array',
    types: asText,
  });
  if (rows.length === 0) return undefined;
  return requests.map((request, i) => {
    const row = rows[i];
    if (!row) throw new Error(`log.append answered ${rows.length} rows to ${requests.length} requests.`);
    const outcome = outcomeOf(row, request.events.length);
    // A stream that this statement made and took back has left its key to others.
    if (outcome.accepted) keys.set(request.streamId, row[0]);
    return outcome;
  });
}

/** Ids, types, schema versions, data and metadata of all events, in their order. */
function eventColumns(requests: readonly AppendRequest[]): string[] {
  const ids: string[] = [];
  const types: string[] = [];
  const versions: number[] = [];
  const data: string[] = [];
  const metadata: string[] = [];
  for (const { events } of requests) {
    for (const event of events) {
      ids.push(event.id);
      types.push(event.type);
      versions.push(event.schemaVersion);
      data.push(JSON.stringify(event.data));
      metadata.push(encodeMetadata(event));
    }
  }
  return [pgArray(ids), types.join('\n'), pgArray(versions), data.join('\n'), metadata.join('\n')];
}

function outcomeOf([, accepted, repeated, revision, position, current]: Row, count: number): AppendOutcome {
  if (accepted !== 't' || revision === null || position === null) {
    return { accepted: false, currentRevision: Number(current) };
  }
  // Events of one request are adjacent in the global order: the function numbers them so.
  const first = BigInt(position);
  const positions = Array.from({ length: count }, (_, i) => String(first + BigInt(i)));
  return { accepted: true, firstRevision: Number(revision), positions, repeated: repeated === 't' };
}

function codeOf(expected: ExpectedRevision): number {
  switch (expected) {
    case 'no-stream':
      return -1;
    case 'any':
      return -2;
    case 'stream-exists':
      return -3;
    default:
      return expected;
  }
}
