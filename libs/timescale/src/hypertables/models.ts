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

/** A table that may be operated on: the registered models are a list of these, which the caller gives. */
export interface TableModel {
  readonly schema: string;
  readonly name: string;
  /** Set where the code that writes the table takes it for a hypertable over this column. */
  readonly timeColumn?: string;
  /** The columns that tell what a row is about, where the key has more: a flight's frame, whatever its time. */
  readonly identity?: readonly string[];
  /** The table without whose row a row of this one has no place, such as the flight of a frame. */
  readonly owner?: { readonly table: string; readonly key: string; readonly column: string };
}

/** Asks for a hypertable. */
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
  /** The time that one chunk covers; default 7 days. */
  @Optional() @IsDuration() readonly chunkInterval?: string | null;
  /** Default false. */
  @Optional() @IsBoolean() readonly compressionEnabled?: boolean | null;
  /** Chunks are compressed once their end is so long ago; default 30 days. */
  @Optional() @IsDuration() readonly compressAfter?: string | null;
  /** Chunks are dropped once their end is so long ago; kept for ever where it is left out. */
  @Optional() @IsDuration() readonly retentionPeriod?: string | null;
  /** Move the rows of a table that has some into chunks; nobody can read or write it meanwhile. Default false. */
  @Optional() @IsBoolean() readonly migrateData?: boolean | null;
}

/** What to change of a hypertable; what is left out stays. */
@Example<HypertableChange>({ retentionPeriod: '90 days' })
export class HypertableChange {
  /** For chunks made from now on; those that are there keep their range. */
  @Optional() @IsDuration() readonly chunkInterval?: string | null;
  /** A length of time, or `none` to keep chunks for ever. */
  @Optional() @IsString() @MaxLength(50) readonly retentionPeriod?: string | null;
  @Optional() @IsBoolean() readonly compressionEnabled?: boolean | null;
  @Optional() @IsDuration() readonly compressAfter?: string | null;
}

export class RetentionPolicy {
  @IsBoolean() readonly enabled!: boolean;
  /** 0 where there is none. */
  @IsNumber() @Min(0) readonly retentionPeriodDays!: number;
  @Optional() @IsString() readonly retentionPeriod?: string;
  /** `policy`: a job of TimescaleDB drops chunks. `schedule`: the Waylog server does. */
  @IsIn(['policy', 'schedule']) readonly mechanism!: 'policy' | 'schedule';
  /** Why it is no policy of TimescaleDB, where it is none. */
  @Optional() @IsString() readonly reason?: string;
  @Optional() @IsTimestamp() readonly lastRunAt?: Timestamp;
  /** Why the last run failed, or why there is none. */
  @Optional() @IsString() readonly lastError?: string;
}

export class CompressionPolicy {
  @IsBoolean() readonly enabled!: boolean;
  /** Whether the edition at hand has compression. */
  @IsBoolean() readonly available!: boolean;
  /** Why not. */
  @Optional() @IsString() readonly reason?: string;
  @Optional() @IsString() readonly compressAfter?: string;
  /** Why its policy fails or does not run, if so. */
  @Optional() @IsString() readonly lastError?: string;
}

export class HypertableResponse {
  /** Whether everything was done that was asked for; `errorMessage` says what was not. */
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
  /** When it was made a hypertable, or, where that is not known, its oldest chunk. */
  @Optional() @IsTimestamp() readonly createdAt?: Timestamp;
  @Optional() @IsTimestamp() readonly lastChunkCreated?: Timestamp;
  @IsInt() @Min(0) readonly chunkCount!: number;
  @IsInt() @Min(0) readonly compressedChunks!: number;
  /** With indexes, of all chunks. */
  @IsInt() @Min(0) readonly sizeBytes!: number;
  /** From the statistics of the last ANALYZE: fast and rough. */
  @IsInt() @Min(0) readonly rowEstimate!: number;
  @Nested(() => CompressionPolicy) readonly compression!: CompressionPolicy;
  @Nested(() => RetentionPolicy) readonly retention!: RetentionPolicy;
  /** Rows before were dropped on purpose; the log has them. */
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
  /** True where nothing was dropped, and the chunks are those that would be. */
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
  /** Whether results are stored, rather than computed anew by every read. */
  @IsBoolean() readonly materialized!: boolean;
  /** When its rows were first made, where that is known. */
  @Optional() @IsTimestamp() readonly createdAt?: Timestamp;
}
