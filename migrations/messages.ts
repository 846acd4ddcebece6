import { IsArray, IsBoolean, IsIn, IsNumber, IsString, MaxLength } from 'class-validator';
import { Example, IsText, IsTimestamp, Nested, Optional, type Timestamp } from '#lib/platform';
import { VALIDATION_LEVELS, ValidationIssue, type ValidationLevel } from '#lib/timescale';

/** The request for a migration run. */
@Example<MigrationRequest>({ serviceName: 'flight', validationLevel: 'basic' })
export class MigrationRequest {
  /** The requesting context, such as `flight`. All contexts share one line of migrations. */
  @IsText() @MaxLength(63) readonly serviceName!: string;
  /** The last migration of the target schema, by number or name; `0` for none, default the newest. */
  @Optional() @IsText() @MaxLength(200) readonly targetRevision?: string | null;
  /** All or nothing: if a migration or the validation after it fails, the database is as before. Default true. */
  @Optional() @IsBoolean() readonly autoRollback?: boolean | null;
  /** `none`, `basic` (default: faults that the run caused fail it) or `strict` (any fault fails it). */
  @Optional() @IsIn(VALIDATION_LEVELS) readonly validationLevel?: ValidationLevel | null;
  /** Return a job at once, whose state can be read. Default false. */
  @Optional() @IsBoolean() readonly runInBackground?: boolean | null;
  /** Must be true for a run that rolls migrations back: their tables are dropped with all rows. */
  @Optional() @IsBoolean() readonly confirmDataLoss?: boolean | null;
  /**
   * Make no backup before migrations that rewrite data which nothing else can restore, such as the log. Default false.
   */
  @Optional() @IsBoolean() readonly withoutBackup?: boolean | null;
}

/** In this order. `hypertables` names the new ones; migrations create them. */
export const PHASES = [
  'lock',
  'inspect',
  'pre-validation',
  'migrate',
  'hypertables',
  'post-validation',
] as const;
export type Phase = (typeof PHASES)[number];

/** The result of a migration run. */
export class MigrationResponse {
  @IsBoolean() readonly success!: boolean;
  @IsString() readonly serviceName!: string;
  @IsArray() @IsIn(PHASES, { each: true }) readonly phasesCompleted!: readonly Phase[];
  /** Schema and table. */
  @IsArray() @IsString({ each: true }) readonly hypertablesCreated!: readonly string[];
  @Nested(() => ValidationIssue, { each: true }) readonly validationIssues!: readonly ValidationIssue[];
  @Optional() @IsString() readonly errorMessage?: string;
  /** Everything that this run did was rolled back. */
  @IsBoolean() readonly rollbackPerformed!: boolean;
  /** Seconds. */
  @Optional() @IsNumber() readonly executionTime?: number;
  @Optional() @IsString() readonly message?: string;
  /** The migrations that ran and were kept, in the order in which they ran. */
  @IsArray() @IsString({ each: true }) readonly applied!: readonly string[];
  /** The backup that was made first, because the run rewrites data. It is kept, whatever the result of the run. */
  @Optional() @IsString() readonly backup?: string;
  /** The migrations that were rolled back by their `down`, because the target comes before them. */
  @IsArray() @IsString({ each: true }) readonly reverted!: readonly string[];
}

/** A migration, and whether a database has it. */
export class MigrationInfo {
  @IsString() readonly revision!: string;
  /** The context whose tables it creates; `unknown` for a migration that this code does not have. */
  @IsString() readonly serviceName!: string;
  @IsString() readonly description!: string;
  @IsBoolean() readonly isApplied!: boolean;
  /** The data that it rewrites and that nothing else can restore: a backup is made first. */
  @Optional() @IsString() readonly rewrites?: string;
  /** Unknown for migrations that ran before this was recorded. */
  @Optional() @IsTimestamp() readonly appliedAt?: Timestamp;
  /** The last one that the database has. */
  @IsBoolean() readonly isCurrent!: boolean;
}
