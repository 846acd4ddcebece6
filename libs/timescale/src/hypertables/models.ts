import { IsArray, IsBoolean, IsIn, IsInt, IsNumber, IsString, MaxLength, Min } from 'class-validator';
import {
  Example,
  IsDuration,
  IsOpaqueId,
  IsTimestamp,
  Nested,
  Optional,
  type Timestamp,
} from '#lib/platform';

/** A table that can be operated on. The registered models are a list of these, which the caller provides. */
export interface TableModel {
  readonly schema: string;
  readonly name: string;
  /** Set if the code that writes the table expects a hypertable over this column. */
  readonly timeColumn?: string;
  /** The columns that identify what a row is about, if there is one whatever its time: a flight's frame. */
  readonly identity?: readonly string[];
  /** The table whose row a row of this table depends on, such as the flight of a frame. */
  readonly owner?: { readonly table: string; readonly key: string; readonly column: string };
}

/** The request to create a hypertable. */
@Example<HypertableRequest>({
  tableName: 'flight.frame_results',
  timeColumn: 'timestamp',
  chunkInterval: '7 days',
})
export class HypertableRequest {
  /** A registered model, with or without its schema: `flight.frame_results`. */
  @IsOpaqueId() readonly tableName!: string;
  /** The column by which the table is cut into chunks; it must be part of every unique key. */
  @IsOpaqueId() readonly timeColumn!: string;
  /** The time span of one chunk; default 7 days. */
  @Optional() @IsDuration() readonly chunkInterval?: string | null;
  /** Default false. */
  @Optional() @IsBoolean() readonly compressionEnabled?: boolean | null;
  /** The age at which chunks are compressed, counted from their end; default 30 days. */
  @Optional() @IsDuration() readonly compressAfter?: string | null;
  /** The age at which chunks are dropped, counted from their end; without it they are kept forever. */
  @Optional() @IsDuration() readonly retentionPeriod?: string | null;
  /** Move existing rows of the table into chunks. Meanwhile no session can read or write it. Default false. */
  @Optional() @IsBoolean() readonly migrateData?: boolean | null;
}

/** The changes to a hypertable; omitted fields stay as they are. */
@Example<HypertableChange>({ retentionPeriod: '90 days' })
export class HypertableChange {
  /** For new chunks; existing chunks keep their range. */
  @Optional() @IsDuration() readonly chunkInterval?: string | null;
  /** A length of time, or `none` to keep chunks forever. */
  @Optional() @IsString() @MaxLength(50) readonly retentionPeriod?: string | null;
  @Optional() @IsBoolean() readonly compressionEnabled?: boolean | null;
  @Optional() @IsDuration() readonly compressAfter?: string | null;
}

export class RetentionPolicy {
  @IsBoolean() readonly enabled!: boolean;
  /** 0 if there is none. */
  @IsNumber() @Min(0) readonly retentionPeriodDays!: number;
  @Optional() @IsString() readonly retentionPeriod?: string;
  /** `policy`: a job of TimescaleDB drops chunks. `schedule`: the Waylog server does. */
  @IsIn(['policy', 'schedule']) readonly mechanism!: 'policy' | 'schedule';
  /** Why it is not a policy of TimescaleDB, if it is not. */
  @Optional() @IsString() readonly reason?: string;
  @Optional() @IsTimestamp() readonly lastRunAt?: Timestamp;
  /** Why the last run failed, or why there was none. */
  @Optional() @IsString() readonly lastError?: string;
}

export class CompressionPolicy {
  @IsBoolean() readonly enabled!: boolean;
  /** Whether this edition has compression. */
  @IsBoolean() readonly available!: boolean;
  /** Why not. */
  @Optional() @IsString() readonly reason?: string;
  @Optional() @IsString() readonly compressAfter?: string;
  /** Why its policy fails or does not run, if so. */
  @Optional() @IsString() readonly lastError?: string;
}

export class HypertableResponse {
  /** Whether everything requested was done; `errorMessage` says what was not. */
  @IsBoolean() readonly success!: boolean;
  @IsString() readonly tableName!: string;
  @IsBoolean() readonly hypertableCreated!: boolean;
  @Optional() @IsString() readonly chunkInterval?: string;
  @Optional() @Nested(() => CompressionPolicy) readonly compressionPolicy?: CompressionPolicy;
  @Optional() @Nested(() => RetentionPolicy) readonly retentionPolicy?: RetentionPolicy;
  @Optional() @IsString() readonly errorMessage?: string;
  /** What an operator should know about it. */
  @IsArray() @IsString({ each: true }) readonly notes!: string[];
}

export class HypertableInfo {
  /** With its schema. */
  @IsString() readonly tableName!: string;
  @IsString() readonly timeColumn!: string;
  @IsString() readonly chunkInterval!: string;
  @IsBoolean() readonly compressionEnabled!: boolean;
  @Optional() @IsString() readonly retentionPeriod?: string;
  /** When it became a hypertable, or, if unknown, the start of its oldest chunk. */
  @Optional() @IsTimestamp() readonly createdAt?: Timestamp;
  @Optional() @IsTimestamp() readonly lastChunkCreated?: Timestamp;
  @IsInt() @Min(0) readonly chunkCount!: number;
  @IsInt() @Min(0) readonly compressedChunks!: number;
  /** With indexes, of all chunks. */
  @IsInt() @Min(0) readonly sizeBytes!: number;
  /** From the statistics of the last ANALYZE: fast but rough. */
  @IsInt() @Min(0) readonly rowEstimate!: number;
  @Nested(() => CompressionPolicy) readonly compression!: CompressionPolicy;
  @Nested(() => RetentionPolicy) readonly retention!: RetentionPolicy;
  /** Rows before this time were dropped on purpose; the log has them. */
  @Optional() @IsTimestamp() readonly retainedSince?: Timestamp;
}

export class ChunkInfo {
  /** With its schema. */
  @IsString() readonly chunkName!: string;
  @IsString() readonly tableName!: string;
  /** Inclusive. */
  @IsTimestamp() readonly rangeStart!: Timestamp;
  /** Exclusive. */
  @IsTimestamp() readonly rangeEnd!: Timestamp;
  @IsBoolean() readonly compressed!: boolean;
  /** With its indexes. */
  @IsInt() @Min(0) readonly sizeBytes!: number;
  @Optional() @IsTimestamp() readonly createdAt?: Timestamp;
}

export class DroppedChunks {
  @IsString() readonly tableName!: string;
  @IsTimestamp() readonly olderThan!: Timestamp;
  /** True if nothing was dropped, and the chunks are those that would be. */
  @IsBoolean() readonly dryRun!: boolean;
  @Nested(() => ChunkInfo, { each: true }) readonly chunks!: ChunkInfo[];
  @IsInt() @Min(0) readonly bytes!: number;
  @IsArray() @IsString({ each: true }) readonly notes!: string[];
}

export class RefreshPolicy {
  /** `follower`: the Waylog server follows the log, in every edition of TimescaleDB (docs/decisions/0025). */
  @IsIn(['follower']) readonly mechanism!: 'follower';
}

export class ContinuousAggregateInfo {
  /** What queries read, with its schema; the same name in every edition. */
  @IsString() readonly viewName!: string;
  @IsString() readonly sourceTable!: string;
  @Optional() @Nested(() => RefreshPolicy) readonly refreshPolicy?: RefreshPolicy;
  /** Whether results are stored instead of computed by every read. */
  @IsBoolean() readonly materialized!: boolean;
  /** When its rows were first computed, if known. */
  @Optional() @IsTimestamp() readonly createdAt?: Timestamp;
}
