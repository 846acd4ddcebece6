import { IsArray, IsIn, IsInt, IsString, Min } from 'class-validator';
import { IsTimestamp, Nested, Optional, type Timestamp } from '#lib/platform';

/** `verifying`: a file has been written and is being read back. */
const STATUSES = ['pending', 'archiving', 'verifying', 'completed', 'failed'] as const;
export type ArchivalStatus = (typeof STATUSES)[number];

/**
 * `written`: the file is there and verified, the rows are still in the table as well. `gone`: another process dropped
 * the chunk before it was written.
 */
const CHUNK_STATES = ['pending', 'written', 'dropped', 'restored', 'gone'] as const;

export class ArchivedChunk {
  @IsString() readonly chunkName!: string;
  @IsTimestamp() readonly rangeStart!: Timestamp;
  @IsTimestamp() readonly rangeEnd!: Timestamp;
  @IsIn(CHUNK_STATES) readonly state!: (typeof CHUNK_STATES)[number];
  /** Below `lakehousePath`; its manifest has the same name with `.json` added. */
  @Optional() @IsString() readonly file?: string;
  @Optional() @IsInt() @Min(0) readonly rows?: number;
  /** Of the file. */
  @Optional() @IsInt() @Min(0) readonly bytes?: number;
  /** Of the file. */
  @Optional() @IsString() readonly sha256?: string;
  /** A fingerprint of the rows, whatever their order. */
  @Optional() @IsString() readonly rowHash?: string;
}

/** An archive of some chunks of one table, complete or not. */
export class ArchivalEvent {
  @IsString() readonly eventId!: string;
  @IsString() readonly tableName!: string;
  @Nested(() => ArchivedChunk, { each: true }) readonly chunks!: ArchivedChunk[];
  @IsIn(STATUSES) readonly status!: ArchivalStatus;
  @IsTimestamp() readonly createdAt!: Timestamp;
  @Optional() @IsTimestamp() readonly completedAt?: Timestamp;
  @IsTimestamp() readonly olderThan!: Timestamp;
  /** The folder with the files. */
  @IsString() readonly lakehousePath!: string;
  @Optional() @IsString() readonly errorMessage?: string;
}

/** The result. */
export class ArchivalConfirmation {
  @IsString() readonly eventId!: string;
  @IsString() readonly tableName!: string;
  @IsIn(STATUSES) readonly status!: ArchivalStatus;
  /** When it was completed or failed. */
  @IsTimestamp() readonly completedAt!: Timestamp;
  @Optional() @IsString() readonly lakehousePath?: string;
  @Optional() @IsString() readonly errorMessage?: string;
  /** How many chunks are in files and no longer in the table. */
  @IsInt() @Min(0) readonly chunks!: number;
  @IsInt() @Min(0) readonly rows!: number;
  @IsInt() @Min(0) readonly bytes!: number;
}

export class RestoredArchive {
  @IsString() readonly eventId!: string;
  @IsString() readonly tableName!: string;
  @IsInt() @Min(0) readonly chunks!: number;
  /** Rows that were written into the table. */
  @IsInt() @Min(0) readonly restored!: number;
  /** Rows that the table already had, perhaps in a later state, which it keeps. */
  @IsInt() @Min(0) readonly present!: number;
  /** Rows left out because the table has changed: their flight was deleted, or the frame now has another time. */
  @IsInt() @Min(0) readonly outdated!: number;
  @IsArray() @IsString({ each: true }) readonly notes!: string[];
}

/** The steps of each chunk, in this order; `changed` goes back to the first. */
export type ArchiveStep = 'copied' | 'verified' | 'written' | 'changed' | 'dropped' | 'restored';
