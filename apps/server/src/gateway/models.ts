import {
  ArrayMaxSize,
  IsArray,
  IsBoolean,
  IsInt,
  IsNumber,
  IsObject,
  IsString,
  Max,
  MaxLength,
  Min,
  MinLength,
} from 'class-validator';
import {
  Example,
  IsKnownId,
  IsName,
  IsOpaqueId,
  IsScalar,
  IsText,
  IsTimestamp,
  Optional,
  type Timestamp,
} from '#lib/platform';
import { MAX_ROWS } from './read-only-sql.js';

/** The longest that a caller may have a request wait, in seconds. */
const MAX_TIMEOUT = 300;

/** A command by its name. */
@Example<CommandRequest>({
  command: 'SaveHeading',
  parameters: {
    flightId: 'fjord-1',
    heading: { frameId: 0, heading: 92.5, timestamp: '2026-05-01T12:00:00.500Z' },
  },
  serviceName: 'tracker',
})
export class CommandRequest {
  /** The name of the command's class, such as `UpdateWaypoint`. */
  @IsText() @MinLength(1) @MaxLength(100) readonly command!: string;
  /** The fields of the command, `flightId` among them. */
  @Optional() @IsObject() readonly parameters?: Readonly<Record<string, unknown>> | null;
  /** Whom it is sent for; the audit trail has it as `onBehalfOf`, beside the actor, which is whose key the request carries. */
  @IsName() readonly serviceName!: string;
  /** Collects the command in this transaction instead of recording it now. */
  @Optional() @IsOpaqueId() readonly transactionId?: string | null;
  /** How long to wait for the answer, in seconds. The command is not undone when it takes longer. */
  @Optional() @IsNumber() @Min(0.001) @Max(MAX_TIMEOUT) readonly timeout?: number | null;
}

/**
 * What became of a command. It always says success: what was refused, or is not known to be recorded, is answered as a
 * problem with its status and code, as everywhere else.
 */
export class CommandResponse {
  @IsBoolean() readonly success!: boolean;
  /** The transaction that the command belongs to. */
  @Optional() @IsString() readonly transactionId?: string;
  /** How many events it recorded; the same again for a repeat. 0 for what was no news, and for what a transaction has only collected so far. */
  @IsInt() @Min(0) readonly affectedRows!: number;
  /** In seconds. */
  @IsNumber() @Min(0) readonly executionTime!: number;
  /** Never there: errors are problems. Named because others expect the field. */
  @Optional() @IsString() readonly errorMessage?: string;
  @Optional() @IsString() readonly flightId?: string;
  /** The flight's last revision after the command; not there while nothing is recorded. */
  @Optional() @IsInt() @Min(0) readonly revision?: number;
  /** What to send as Waylog-Min-Position to read what the command wrote. */
  @Optional() @IsString() readonly position?: string;
  /** What the command answers beyond that, such as `waypointId`; of a transaction, `results` of each command. */
  @Optional() @IsObject() readonly result?: object;
}

/** A query by its name, or one SQL statement that reads. */
@Example<QueryRequest>({
  query: 'select id, name from flight.flights where altitude > $1',
  parameters: { values: [100] },
  serviceName: 'tracker',
})
export class QueryRequest {
  /** The name of a query's class, such as `GetWaypoints`; or SQL that begins with select, with or values. */
  @IsText() @MinLength(1) @MaxLength(20_000) readonly query!: string;
  /** The fields of the query; of SQL, `values`: a list of what $1, $2 and so on stand for. */
  @Optional() @IsObject() readonly parameters?: Readonly<Record<string, unknown>> | null;
  @IsOpaqueId() readonly serviceName!: string;
  /** How long to wait for the answer, in seconds; SQL is ended by then. */
  @Optional() @IsNumber() @Min(0.001) @Max(MAX_TIMEOUT) readonly timeout?: number | null;
  /** Take an answer from the cache that is still what the tables say; default false. */
  @Optional() @IsBoolean() readonly useCache?: boolean | null;
}

/** The answer of a query. It always says success: errors are problems, as everywhere else. */
export class QueryResponse {
  @IsBoolean() readonly success!: boolean;
  /**
   * A list stands in `rows`, an object is itself, and anything else stands in `value`. SQL answers `rows`, `columns`, and
   * `truncated` when there were more rows than were asked for.
   */
  @IsObject() readonly data!: object;
  /** In seconds. */
  @IsNumber() @Min(0) readonly executionTime!: number;
  @IsInt() @Min(0) readonly rowCount!: number;
  @IsBoolean() readonly cacheHit!: boolean;
  /** Never there: errors are problems. Named because others expect the field. */
  @Optional() @IsString() readonly errorMessage?: string;
}

/** What ad-hoc SQL takes as parameters. */
export class SqlParameters {
  /** What $1, $2 and so on stand for: texts, numbers, flags or null. */
  @Optional() @IsArray() @IsScalar({ each: true }) @ArrayMaxSize(100) readonly values?:
    readonly (string | number | boolean | null)[] | null;
  /** The most rows to answer; default 1,000. */
  @Optional() @IsInt() @Min(1) @Max(MAX_ROWS) readonly maxRows?: number | null;
}

@Example<TransactionRequest>({ flightId: 'fjord-1', serviceName: 'tracker', timeLimit: 30 })
export class TransactionRequest {
  /** The one flight that the transaction changes. It need not exist yet. */
  @IsKnownId() readonly flightId!: string;
  /** Whom it is opened for; the audit trail has it as `onBehalfOf`. */
  @IsName() readonly serviceName!: string;
  /** Seconds after which the transaction ends by itself; default 30. */
  @Optional() @IsNumber() @Min(0.001) @Max(MAX_TIMEOUT) readonly timeLimit?: number | null;
}

/** A transaction that collects commands. It lives in the process that opened it. */
export class TransactionContext {
  @IsString() readonly transactionId!: string;
  @IsString() readonly serviceName!: string;
  @IsString() readonly flightId!: string;
  @IsTimestamp() readonly startedAt!: Timestamp;
  /** How many commands it has collected. They are executed together, at the commit. */
  @IsInt() @Min(0) readonly commandsExecuted!: number;
  /** Whether it takes commands. */
  @IsBoolean() readonly isActive!: boolean;
  @IsTimestamp() readonly expiresAt!: Timestamp;
  /** `uncertain`: a commit got no answer from the database; commit it again to know. */
  @IsString() readonly state!: TransactionState;
}

export type TransactionState =
  'open' | 'committing' | 'committed' | 'refused' | 'uncertain' | 'rolled-back' | 'expired';

export class CommitQuery {
  /** How long to wait for the answer, in seconds. The commit is not undone when it takes longer. */
  @Optional() @IsNumber() @Min(0.001) @Max(MAX_TIMEOUT) readonly timeout?: number;
}
