import { IsInt, IsString } from 'class-validator';
import type { ClientBase, Pool } from 'pg';
import { IsTimestamp, Optional, readRows, timestampFromPostgres, type Timestamp } from '#lib/platform';
import type { Position } from '#lib/event-store';
import type { KeyDifference } from './table-hash.js';

/** Rows of a stream that differ from the log. */
export class IntegrityFinding {
  @IsString() readonly projector!: string;
  @IsString() readonly projection!: string;
  /** The stream. */
  @IsString() readonly key!: string;
  /** What of the log the rows were compared with: up to a position, or a revision of the stream. */
  @IsString() readonly position!: Position;
  @IsInt() readonly rowsFound!: number;
  @IsInt() readonly rowsExpected!: number;
  @IsTimestamp() readonly foundAt!: Timestamp;
  @IsString() readonly foundBy!: string;
  /** Why the log does not say what the rows should be: an event of the stream cannot be folded. */
  @Optional() @IsString() readonly error?: string;
  @Optional() @IsTimestamp() readonly repairedAt?: Timestamp;
  @Optional() @IsString() readonly repairedBy?: string;
  @Optional() @IsInt() readonly rowsRemoved?: number;
  @Optional() @IsInt() readonly rowsWritten?: number;
  /** When a later comparison found the rows right, without a repair: they were rebuilt, or changed back. */
  @Optional() @IsTimestamp() readonly goneAt?: Timestamp;
}

/** Records differences. A known finding keeps its date and gets the new numbers. */
export const recordFindings = (
  client: ClientBase | Pool,
  found: {
    readonly projector: string;
    readonly projection: string;
    readonly differences: readonly (KeyDifference & { readonly error?: string })[];
    readonly position: Position;
    readonly by: string;
  },
) =>
  client.query(
    `insert into projection.integrity_findings
       (projector, projection, key, position, rows_found, rows_expected, found_by, error)
     select $8, $1, d.key, $2, d.found, d.expected, $3, d.error
       from unnest($4::text[], $5::integer[], $6::integer[], $7::text[]) as d (key, found, expected, error)
     on conflict (projector, projection, key) where repaired_at is null and gone_at is null do update
        set position = excluded.position, rows_found = excluded.rows_found, rows_expected = excluded.rows_expected,
            error = excluded.error`,
    [
      found.projection,
      found.position,
      found.by,
      found.differences.map(({ key }) => key),
      found.differences.map(({ rowsFound }) => rowsFound),
      found.differences.map(({ rowsExpected }) => rowsExpected),
      found.differences.map(({ error }) => error ?? null),
      found.projector,
    ],
  );

export const recordRepair = (
  client: ClientBase,
  repair: {
    readonly projector: string;
    readonly projection: string;
    readonly key: string;
    readonly by: string;
    readonly rows: { readonly rowsRemoved: number; readonly rowsWritten: number };
  },
) =>
  client.query(
    `update projection.integrity_findings
        set repaired_at = clock_timestamp(), repaired_by = $3, rows_removed = $4, rows_written = $5
      where projector = $6 and projection = $1 and key = $2 and repaired_at is null and gone_at is null`,
    [
      repair.projection,
      repair.key,
      repair.by,
      repair.rows.rowsRemoved,
      repair.rows.rowsWritten,
      repair.projector,
    ],
  );

/** Closes the findings that a comparison of the whole table, or of some of its keys, has not found again. */
export const closeGone = (
  client: ClientBase | Pool,
  { projector, projection }: { readonly projector: string; readonly projection: string },
  differences: readonly KeyDifference[],
  among?: readonly string[],
) =>
  client.query(
    `update projection.integrity_findings set gone_at = clock_timestamp()
      where projector = $4 and projection = $1 and key <> all ($2::text[]) and ($3::text[] is null or key = any ($3))
        and repaired_at is null and gone_at is null`,
    [projection, differences.map(({ key }) => key), among ?? null, projector],
  );

/**
 * Closes the open findings of a table, or of all tables of a projector, that no code declares any more: no comparison will.
 *
 * @returns how many there were
 */
export async function closeUndeclared(
  pool: Pool,
  projector: string,
  projection: string | undefined,
): Promise<number> {
  const { rowCount } = await pool.query(
    `update projection.integrity_findings set gone_at = clock_timestamp()
      where projector = $1 and ($2::text is null or projection = $2) and repaired_at is null and gone_at is null`,
    [projector, projection ?? null],
  );
  return rowCount ?? 0;
}

/** The findings, the last first; `open` leaves out what was repaired or no longer exists. */
export async function integrityFindings(
  pool: Pool,
  { open = false, limit = 1_000 }: { readonly open?: boolean; readonly limit?: number } = {},
): Promise<IntegrityFinding[]> {
  const rows = await readRows(
    pool,
    undefined,
    `select projection, key, position, rows_found, rows_expected, found_at, found_by,
            repaired_at, repaired_by, rows_removed, rows_written, gone_at, error, projector
       from projection.integrity_findings
      where not $1 or (repaired_at is null and gone_at is null)
      order by found_at desc, id desc
      limit $2`,
    [open, limit],
  );
  return rows.map(
    ([
      projection,
      key,
      position,
      found,
      expected,
      foundAt,
      foundBy,
      repairedAt,
      repairedBy,
      removed,
      written,
      gone,
      error,
      projector,
    ]) => ({
      projector: projector as string,
      projection: projection as string,
      key: key as string,
      position: position as string,
      rowsFound: Number(found),
      rowsExpected: Number(expected),
      foundAt: timestampFromPostgres(foundAt as string),
      foundBy: foundBy as string,
      ...(error && { error }),
      ...(repairedAt && {
        repairedAt: timestampFromPostgres(repairedAt),
        repairedBy: repairedBy as string,
        rowsRemoved: Number(removed),
        rowsWritten: Number(written),
      }),
      ...(gone && { goneAt: timestampFromPostgres(gone) }),
    }),
  );
}
