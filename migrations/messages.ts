import { IsArray, IsBoolean, IsIn, IsNumber, IsString, MaxLength } from 'class-validator';
import { Example, IsText, IsTimestamp, Nested, Optional, type Timestamp } from '#lib/platform';
import { VALIDATION_LEVELS, ValidationIssue, type ValidationLevel } from '#lib/timescale';

/** Request for a migration run. */
@Example<MigrationRequest>({ serviceName: 'flight', validationLevel: 'basic' })
export class MigrationRequest {
  /** Who asks: the name of a context, such as `flight`. All contexts share one line of migrations. */
  @IsText() @MaxLength(63) readonly serviceName!: string;
  /** The last migration that is to be there afterwards, by number or name; `0` for none at all; the newest when left out. */
  @Optional() @IsText() @MaxLength(200) readonly targetRevision?: string | null;
  /** All or nothing: when a migration fails, or the validation after it, the database is where it was. Default true. */
  @Optional() @IsBoolean() readonly autoRollback?: boolean | null;
  /** `none`, `basic` (default: what the run has broken fails it) or `strict` (so does whatever else is found). */
  @Optional() @IsIn(VALIDATION_LEVELS) readonly validationLevel?: ValidationLevel | null;
  /** Answer a job at once, which is asked how it goes. Default false. */
  @Optional() @IsBoolean() readonly runInBackground?: boolean | null;
  /** Must be true for a run that takes migrations back: the tables that they made go, with what is in them. */
  @Optional() @IsBoolean() readonly confirmDataLoss?: boolean | null;
  /** Take no backup before migrations that rewrite what nothing else brings back, such as the log. Default false. */
  @Optional() @IsBoolean() readonly withoutBackup?: boolean | null;
}

/** In this order. `hypertables` says which ones are new; migrations make them. */
export const PHASES = [
  'lock',
  'inspect',
  'pre-validation',
  'migrate',
  'hypertables',
  'post-validation',
] as const;
export type Phase = (typeof PHASES)[number];

/** What became of a migration run. */
export class MigrationResponse {
  @IsBoolean() readonly success!: boolean;
  @IsString() readonly serviceName!: string;
  @IsArray() @IsIn(PHASES, { each: true }) readonly phasesCompleted!: readonly Phase[];
  /** Schema and table. */
  @IsArray() @IsString({ each: true }) readonly hypertablesCreated!: readonly string[];
  @Nested(() => ValidationIssue, { each: true }) readonly validationIssues!: readonly ValidationIssue[];
  @Optional() @IsString() readonly errorMessage?: string;
  /** Everything that this run had done was taken back. */
  @IsBoolean() readonly rollbackPerformed!: boolean;
  /** Seconds. */
  @Optional() @IsNumber() readonly executionTime?: number;
  @Optional() @IsString() readonly message?: string;
  /** The migrations that ran and stayed, in the order in which they ran. */
  @IsArray() @IsString({ each: true }) readonly applied!: readonly string[];
  /** The backup that was taken first, because the run was to rewrite something; it stays, whatever became of the run. */
  @Optional() @IsString() readonly backup?: string;
  /** The migrations that were taken back by way of their `down`, because the target lies before them. */
  @IsArray() @IsString({ each: true }) readonly reverted!: readonly string[];
}

/** A migration, and whether a database has it. */
export class MigrationInfo {
  @IsString() readonly revision!: string;
  /** The context whose tables it makes; `unknown` for one that this code does not have. */
  @IsString() readonly serviceName!: string;
  @IsString() readonly description!: string;
  @IsBoolean() readonly isApplied!: boolean;
  /** What it writes anew or over that nothing else brings back: a backup is taken first. */
  @Optional() @IsString() readonly rewrites?: string;
  /** Not known of migrations that ran before this was recorded. */
  @Optional() @IsTimestamp() readonly appliedAt?: Timestamp;
  /** The last one that the database has. */
  @IsBoolean() readonly isCurrent!: boolean;
}
