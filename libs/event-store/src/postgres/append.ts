import type { Pool } from 'pg';
import { asText, pgArray } from '#lib/platform';
import type { AppendOutcome, AppendRequest, ExpectedRevision } from '../event-store.js';

/** The function is made, and its parameters are explained, by the migration `event-log`. */
const sql = `select request, accepted, repeated, first_revision, first_position, current_revision
               from log.append($1, $2, $3, $4, $5, $6, $7, $8, $9)`;

type Row = [
  request: string,
  accepted: string,
  repeated: string,
  revision: string | null,
  position: string | null,
  current: string,
];

/** Records requests of different streams in one transaction: one round trip, one flush to disk. */
export async function append(pool: Pool, requests: readonly AppendRequest[]): Promise<AppendOutcome[]> {
  const streams: string[] = [];
  const expected: number[] = [];
  const of: number[] = [];
  const ordinals: number[] = [];
  const ids: string[] = [];
  const types: string[] = [];
  const versions: number[] = [];
  const data: string[] = [];
  const metadata: string[] = [];
  for (const [i, request] of requests.entries()) {
    streams.push(request.streamId);
    expected.push(codeOf(request.expectedRevision));
    for (const [ordinal, event] of request.events.entries()) {
      of.push(i + 1);
      ordinals.push(ordinal);
      ids.push(event.id);
      types.push(event.type);
      versions.push(event.schemaVersion);
      data.push(JSON.stringify(event.data));
      metadata.push(JSON.stringify(event.metadata));
    }
  }
  const { rows } = await pool.query<Row>({
    name: 'log.append',
    text: sql,
    values: [
      streams.join('\n'),
      pgArray(expected),
      pgArray(of),
      pgArray(ordinals),
      pgArray(ids),
      types.join('\n'),
      pgArray(versions),
      data.join('\n'),
      metadata.join('\n'),
    ],
    rowMode: 'array',
    types: asText,
  });
  return requests.map((request, i) => {
    const row = rows[i];
    if (!row) throw new Error(`log.append answered ${rows.length} rows to ${requests.length} requests.`);
    return outcomeOf(row, request.events.length);
  });
}

function outcomeOf([, accepted, repeated, revision, position, current]: Row, count: number): AppendOutcome {
  if (accepted !== 't' || revision === null || position === null) {
    return { accepted: false, currentRevision: Number(current) };
  }
  // Events of one request stand next to each other in the global order: the function numbers them so.
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
