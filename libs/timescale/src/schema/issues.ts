import { IsBoolean, IsIn, IsString } from 'class-validator';
import { IsTimestamp, Nested, Optional, type Timestamp } from '#lib/platform';

/** `error`: Waylog does not work as it should. `warning`: it works, but worse or differently. `info`: worth knowing. */
export const SEVERITIES = ['error', 'warning', 'info'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** `none` checks nothing, `basic` fails on errors, `strict` on warnings too. All of them report what they find. */
export const VALIDATION_LEVELS = ['none', 'basic', 'strict'] as const;
export type ValidationLevel = (typeof VALIDATION_LEVELS)[number];

/** One difference between the expected and the actual schema. */
export class ValidationIssue {
  @IsIn(SEVERITIES) readonly severity!: Severity;
  /** The kind of the difference, such as `missing-column`; stable, for programs. */
  @IsString() readonly category!: string;
  /** What is wrong, and by which standard. */
  @IsString() readonly description!: string;
  /** Where: `flight.waypoints.lat`. */
  @IsString() readonly location!: string;
  /** What to do about it. */
  @Optional() @IsString() readonly suggestion?: string;
  @IsTimestamp() readonly timestamp!: Timestamp;
}

/** A schema compared with its models and migrations. */
export class SchemaValidationResult {
  /** Whether there is nothing that fails this level. */
  @IsBoolean() readonly isValid!: boolean;
  @Nested(() => ValidationIssue, { each: true }) readonly issues!: readonly ValidationIssue[];
  @IsTimestamp() readonly validatedAt!: Timestamp;
  @IsIn(VALIDATION_LEVELS) readonly validationLevel!: ValidationLevel;
}

/** An issue, found now. */
export const issue = (
  severity: Severity,
  category: string,
  location: string,
  description: string,
  suggestion?: string,
): ValidationIssue => ({
  severity,
  category,
  location,
  description,
  ...(suggestion !== undefined && { suggestion }),
  timestamp: new Date().toISOString(),
});

/** The issues that a level fails on. */
export const failingAt = (
  level: ValidationLevel,
  issues: readonly ValidationIssue[],
): readonly ValidationIssue[] =>
  issues.filter(
    ({ severity }) =>
      level !== 'none' && (severity === 'error' || (level === 'strict' && severity === 'warning')),
  );
