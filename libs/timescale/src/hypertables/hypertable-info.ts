import type { ClientBase } from 'pg';
import type { Capabilities } from '../capabilities.js';
import type { JobTrouble } from '../jobs/job-troubles.js';
import type { ChunkInfo, CompressionPolicy, HypertableInfo, RetentionPolicy, TableModel } from './models.js';

export interface InfoRow {
  readonly table_name: string;
  readonly time_column: string;
  readonly chunk_interval: string;
  readonly compression_enabled: boolean;
  readonly chunks: string;
  readonly compressed: string;
  readonly bytes: string | null;
  readonly row_estimate: string | null;
  readonly created_at: Date | null;
  readonly last_chunk: Date | null;
  readonly retention: string | null;
  readonly retention_days: number | null;
  readonly compress_after: string | null;
  readonly last_run_at: Date | null;
  readonly last_error: string | null;
}

// The policy itself counts before our settings: it may have been changed in the database. Tables are found in the catalog:
// by a name cast to regclass, one in a schema that the role may not use would fail the whole list.
export const infoSql = `
  select h.hypertable_schema || '.' || h.hypertable_name as table_name, d.column_name as time_column,
         coalesce(d.time_interval::text, d.integer_interval::text) as chunk_interval,
         h.compression_enabled, h.num_chunks as chunks, made.compressed,
         hypertable_size(r.oid::regclass)::text as bytes,
         approximate_row_count(r.oid::regclass)::text as row_estimate,
         coalesce(s.created_at, made.first) as created_at, made.last as last_chunk,
         coalesce(retention.after, s.retention)::text as retention,
         (extract(epoch from coalesce(retention.after, s.retention)) / 86400)::float8 as retention_days,
         coalesce(compression.after, s.compress_after)::text as compress_after,
         coalesce(retention.last_run_at, s.last_run_at) as last_run_at,
         s.last_error
    from timescaledb_information.hypertables h
    join pg_namespace n on n.nspname = h.hypertable_schema
    join pg_class r on (r.relnamespace, r.relname) = (n.oid, h.hypertable_name)
    join timescaledb_information.dimensions d
      on (d.hypertable_schema, d.hypertable_name, d.dimension_number) = (h.hypertable_schema, h.hypertable_name, 1)
    left join timescale.hypertables s on (s.table_schema, s.table_name) = (h.hypertable_schema, h.hypertable_name)
    left join lateral (
      select min(c.chunk_creation_time) as first, max(c.chunk_creation_time) as last,
             count(*) filter (where c.is_compressed) as compressed
        from timescaledb_information.chunks c
       where (c.hypertable_schema, c.hypertable_name) = (h.hypertable_schema, h.hypertable_name)
    ) made on true
    left join lateral (
      select (j.config->>'drop_after')::interval as after, nullif(t.last_run_started_at, '-infinity') as last_run_at
        from timescaledb_information.jobs j left join timescaledb_information.job_stats t using (job_id)
       where (j.hypertable_schema, j.hypertable_name, j.proc_name) = (h.hypertable_schema, h.hypertable_name, 'policy_retention')
       limit 1
    ) retention on true
    left join lateral (
      select (j.config->>'compress_after')::interval as after from timescaledb_information.jobs j
       where (j.hypertable_schema, j.hypertable_name) = (h.hypertable_schema, h.hypertable_name)
         and j.proc_name in ('policy_compression', 'policy_columnstore')
       limit 1
    ) compression on true
   where h.hypertable_schema !~ '^(rebuild|verify)_' and h.hypertable_schema not like '\\_timescaledb%'`;

export function infoOf(
  row: InfoRow,
  can: Capabilities,
  since: ReadonlyMap<string, Date>,
  troubles: readonly JobTrouble[],
): HypertableInfo {
  const policyError = (job: 'retention' | 'compression') =>
    troubles.find(
      (each) => each.job === 'scheduler' || (each.job === job && each.tableName === row.table_name),
    )?.what;
  const compressionError = row.compress_after === null ? undefined : policyError('compression');
  const retentionError =
    can.retentionPolicies.available && row.retention !== null ? policyError('retention') : row.last_error;
  const compression: CompressionPolicy = {
    enabled: row.compression_enabled,
    available: can.compression.available,
    ...(!can.compression.available && { reason: can.compression.reason }),
    ...(row.compress_after && { compressAfter: row.compress_after }),
    ...(compressionError && { lastError: compressionError }),
  };
  const retention: RetentionPolicy = {
    enabled: row.retention !== null,
    retentionPeriodDays: row.retention_days ?? 0,
    mechanism: can.retentionPolicies.available ? 'policy' : 'schedule',
    ...(row.retention && { retentionPeriod: row.retention }),
    ...(!can.retentionPolicies.available && { reason: can.retentionPolicies.reason }),
    ...(row.last_run_at && { lastRunAt: row.last_run_at.toISOString() }),
    ...(retentionError && { lastError: retentionError }),
  };
  const retained = since.get(row.table_name);
  return {
    tableName: row.table_name,
    timeColumn: row.time_column,
    chunkInterval: row.chunk_interval,
    compressionEnabled: row.compression_enabled,
    ...(row.retention && { retentionPeriod: row.retention }),
    ...(row.created_at && { createdAt: row.created_at.toISOString() }),
    ...(row.last_chunk && { lastChunkCreated: row.last_chunk.toISOString() }),
    chunkCount: Number(row.chunks),
    compressedChunks: Number(row.compressed),
    sizeBytes: Number(row.bytes ?? 0),
    rowEstimate: Math.max(0, Number(row.row_estimate ?? 0)),
    compression,
    retention,
    ...(retained && { retainedSince: retained.toISOString() }),
  };
}

/** The chunks of a hypertable, oldest first. */
export async function chunksOf(
  client: Pick<ClientBase, 'query'>,
  { schema, name }: Pick<TableModel, 'schema' | 'name'>,
): Promise<ChunkInfo[]> {
  const { rows } = await client.query<{
    chunk_name: string;
    range_start: Date;
    range_end: Date;
    is_compressed: boolean;
    bytes: string | null;
    created_at: Date | null;
  }>(
    `select c.chunk_schema || '.' || c.chunk_name as chunk_name, c.range_start, c.range_end, c.is_compressed,
            size.total_bytes::text as bytes, c.chunk_creation_time as created_at
       from timescaledb_information.chunks c
       left join chunks_detailed_size(format('%I.%I', $1::text, $2::text)::regclass) size using (chunk_schema, chunk_name)
      where c.hypertable_schema = $1 and c.hypertable_name = $2
      order by c.range_start`,
    [schema, name],
  );
  return rows.map((row) => ({
    chunkName: row.chunk_name,
    tableName: `${schema}.${name}`,
    rangeStart: row.range_start.toISOString(),
    rangeEnd: row.range_end.toISOString(),
    compressed: row.is_compressed,
    sizeBytes: Number(row.bytes ?? 0),
    ...(row.created_at && { createdAt: row.created_at.toISOString() }),
  }));
}
