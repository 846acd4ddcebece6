import pg from 'pg';

// The data of the checker. It knows the log and the tables by their columns and uses none of Waylog's code.

export interface LogEvent {
  readonly position: bigint;
  readonly streamId: string;
  readonly revision: number;
  readonly id: string;
  readonly type: string;
  readonly commandId: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the data of every type of event
  readonly data: any;
  /** Milliseconds since 1970. */
  readonly recordedAt: number;
}

/** The rows of each table by their key, as text that is equal for equal rows. */
export type Tables = Readonly<Record<TableName, ReadonlyMap<string, string>>>;

export interface Evidence {
  readonly events: readonly LogEvent[];
  readonly tables: Tables;
  /** Streams that a projector has parked. */
  readonly parked: readonly string[];
  /** The findings of Waylog's own verification. */
  readonly findings: readonly string[];
}

const logSql = `
  select e.position, s.stream_id, e.revision, e.id, e.type, e.data, e.metadata,
         extract(epoch from e.recorded_at)::double precision * 1000 as recorded_at
    from log.events e
    left join log.streams s on s.stream_key = e.stream_key
   order by e.position`;

const ms = (column: string) => `(extract(epoch from ${column}) * 1000)::double precision`;

/** The columns that the checker folds itself; the first ones are the key. */
export const tableColumns = {
  flights: { key: ['id'], sql: `select id, start_lat, start_lon, altitude from flight.flights` },
  waypoints: {
    key: ['flight_id', 'id'],
    sql: `select flight_id, id, lat, lon, altitude, confidence, ${ms('"timestamp"')} as at, refined from flight.waypoints`,
  },
  frame_results: {
    key: ['flight_id', 'frame_id'],
    sql: `select flight_id, frame_id, gps_lat, gps_lon, altitude, heading, confidence, refined, ${ms('"timestamp"')} as at
            from flight.frame_results`,
  },
  heading_history: {
    key: ['flight_id', 'frame_id'],
    sql: `select flight_id, frame_id, heading, ${ms('"timestamp"')} as at from flight.heading_history`,
  },
  chunks: {
    key: ['flight_id', 'chunk_id'],
    sql: `select flight_id, chunk_id, start_frame_id, frames::text as frames, is_active, matching_status from flight.chunks`,
  },
  flight_state: {
    key: ['flight_id'],
    sql: `select flight_id, status, frames_processed, current_frame from flight.flight_state`,
  },
} as const;

export type TableName = keyof typeof tableColumns;

/** Waits until the tables hold the whole log, and reads both in one snapshot. Throws if that takes too long. */
export async function gatherEvidence(url: string, patienceMs: number): Promise<Evidence> {
  const client = new pg.Client({ connectionString: url, application_name: 'fault checker' });
  await client.connect();
  try {
    const patience = performance.now() + patienceMs;
    for (;;) {
      const { rows } = await client.query<{ head: string; least: string | null }>(
        `select (select coalesce(max(e.position), 0) from log.events e) as head,
                (select min(c.position::bigint) from projection.checkpoints c) as least`,
      );
      if (rows[0] && rows[0].head === rows[0].least) break;
      if (performance.now() > patience)
        throw new Error(
          `The tables are at position ${rows[0]?.least ?? 'none'} of ${rows[0]?.head ?? 'none'}, ${patienceMs} ms after the load.`,
        );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await client.query('begin isolation level repeatable read read only');
    const log = await client.query<{
      position: string;
      stream_id: string | null;
      revision: number;
      id: string;
      type: string;
      data: object;
      metadata: { commandId?: string };
      recorded_at: number;
    }>(logSql);
    const tables = {} as Record<TableName, Map<string, string>>;
    for (const [table, { key, sql }] of Object.entries(tableColumns)) {
      const { rows } = await client.query<Record<string, unknown>>(sql);
      const found = new Map<string, string>();
      for (const row of rows) {
        const name = key.map((column) => String(row[column])).join(' ');
        // The primary key excludes two rows with one key, but a hypertable's key includes the time.
        found.set(found.has(name) ? `${name} once more` : name, rowText(Object.values(row)));
      }
      tables[table as TableName] = found;
    }
    const parked = await client.query<{ stream_id: string }>(
      `select stream_id from projection.parked_streams`,
    );
    const findings = await client.query<{ text: string }>(
      `select to_json(f)::text as text from projection.integrity_findings f`,
    );
    return {
      events: log.rows.map((row) => ({
        position: BigInt(row.position),
        streamId: row.stream_id ?? 'no stream',
        revision: row.revision,
        id: row.id,
        type: row.type,
        // Left out of the metadata if the command had no id of its own.
        commandId: row.metadata.commandId ?? row.id,
        data: row.data,
        recordedAt: row.recorded_at,
      })),
      tables,
      parked: parked.rows.map(({ stream_id }) => stream_id),
      findings: findings.rows.map(({ text }) => text),
    };
  } finally {
    await client.end();
  }
}

/** Numbers as JavaScript writes them, whatever their source. */
export const rowText = (values: readonly unknown[]): string => JSON.stringify(values);
