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
  IsName,
  IsOpaqueId,
  IsScalar,
  IsText,
  IsTimestamp,
  Optional,
  type Timestamp,
} from '#lib/platform';
import { examples } from './examples.js';
import { MAX_ROWS } from './read-only-sql.js';
import { MayNameThing, NamesThing } from './stream-keys.js';

/** The longest time, in seconds, for which a caller can let a request wait. */
const MAX_TIMEOUT = 300;

/** A command by its name. */
@Example<CommandRequest>({
  command: examples.command.command,
  parameters: { ...examples.command.parameters },
  serviceName: 'tracker',
})
export class CommandRequest {
  /** The name of the command's class. */
  @IsText() @MinLength(1) @MaxLength(100) readonly command!: string;
  /** The fields of the command, the id of what it changes among them. */
  @Optional() @IsObject() readonly parameters?: Readonly<Record<string, unknown>> | null;
  /**
   * On whose behalf it is sent. The audit trail has it as `onBehalfOf`, beside the actor, which is the owner of the
   * key.
   */
  @IsName() readonly serviceName!: string;
  /** Collects the command in this transaction instead of recording it now. */
  @Optional() @IsOpaqueId() readonly transactionId?: string | null;
  /** How long to wait for the answer, in seconds. The command is not undone when it takes longer. */
  @Optional() @IsNumber() @Min(0.001) @Max(MAX_TIMEOUT) readonly timeout?: number | null;
}

/**
 * The result of a command. It always says success: a command that was refused, or may not have been recorded, is
 * answered as a problem with its status and code, as everywhere else.
 */
@MayNameThing()
export class CommandResponse {
  readonly [key: string]: unknown;
  @IsBoolean() readonly success!: boolean;
  /** The transaction that the command belongs to. */
  @Optional() @IsString() readonly transactionId?: string;
  /**
   * How many events it recorded; the same for a repeat. 0 if it changed nothing, or if a transaction has only collected
   * it so far.
   */
  @IsInt() @Min(0) readonly affectedRows!: number;
  /** In seconds. */
  @IsNumber() @Min(0) readonly executionTime!: number;
  /** Always absent: errors are problems. Declared because other clients expect the field. */
  @Optional() @IsString() readonly errorMessage?: string;
  /** The last revision of the thing after the command; absent while nothing is recorded. */
  @Optional() @IsInt() @Min(0) readonly revision?: number;
  /** What to send as Waylog-Min-Position to read what the command wrote. */
  @Optional() @IsString() readonly position?: string;
  /** Further results of the command, such as the id of what it created; for a transaction, `results` of each command. */
  @Optional() @IsObject() readonly result?: object;
}

/** A query by its name, or one SQL statement that reads. */
@Example<QueryRequest>({
  query: examples.sql.query,
  parameters: { values: examples.sql.values },
  serviceName: 'tracker',
})
export class QueryRequest {
  /** The name of a query's class; or SQL that begins with select, with or values. */
  @IsText() @MinLength(1) @MaxLength(20_000) readonly query!: string;
  /** The fields of the query; for SQL, `values`: a list of the values of $1, $2 and so on. */
  @Optional() @IsObject() readonly parameters?: Readonly<Record<string, unknown>> | null;
  @IsOpaqueId() readonly serviceName!: string;
  /** How long to wait for the answer, in seconds; SQL is ended by then. */
  @Optional() @IsNumber() @Min(0.001) @Max(MAX_TIMEOUT) readonly timeout?: number | null;
  /** Allow an answer from the cache that is still what the tables say; default false. */
  @Optional() @IsBoolean() readonly useCache?: boolean | null;
}

/** The answer of a query. It always says success: errors are problems, as everywhere else. */
export class QueryResponse {
  @IsBoolean() readonly success!: boolean;
  /**
   * A list is in `rows`, an object is itself, and any other value is in `value`. SQL has `rows`, `columns`, and
   * `truncated` if there were more rows than requested.
   */
  @IsObject() readonly data!: object;
  /** In seconds. */
  @IsNumber() @Min(0) readonly executionTime!: number;
  @IsInt() @Min(0) readonly rowCount!: number;
  @IsBoolean() readonly cacheHit!: boolean;
  /** Always absent: errors are problems. Declared because other clients expect the field. */
  @Optional() @IsString() readonly errorMessage?: string;
}

/** The parameters of ad-hoc SQL. */
export class SqlParameters {
  /** The values of $1, $2 and so on: texts, numbers, flags or null. */
  @Optional() @IsArray() @IsScalar({ each: true }) @ArrayMaxSize(100) readonly values?:
    readonly (string | number | boolean | null)[] | null;
  /** The most rows to answer; default 1,000. */
  @Optional() @IsInt() @Min(1) @Max(MAX_ROWS) readonly maxRows?: number | null;
}

/** Opens a transaction. It names the one thing that the transaction changes, which need not exist yet. */
@Example<TransactionRequest>({ ...examples.thing, serviceName: 'tracker', timeLimit: 30 })
@NamesThing()
export class TransactionRequest {
  readonly [key: string]: unknown;
  /** On whose behalf it is opened. The audit trail has it as `onBehalfOf`. */
  @IsName() readonly serviceName!: string;
  /** Seconds after which the transaction ends by itself; default 30. */
  @Optional() @IsNumber() @Min(0.001) @Max(MAX_TIMEOUT) readonly timeLimit?: number | null;
}

/** A transaction that collects commands of one thing, which it names. It lives in the process that opened it. */
@NamesThing()
export class TransactionContext {
  readonly [key: string]: unknown;
  @IsString() readonly transactionId!: string;
  @IsString() readonly serviceName!: string;
  @IsTimestamp() readonly startedAt!: Timestamp;
  /** How many commands it has collected. They are executed together, at the commit. */
  @IsInt() @Min(0) readonly commandsExecuted!: number;
  /** Whether it accepts commands. */
  @IsBoolean() readonly isActive!: boolean;
  @IsTimestamp() readonly expiresAt!: Timestamp;
  /** `uncertain`: a commit got no answer from the database; commit again to find out. */
  @IsString() readonly state!: TransactionState;
}

export type TransactionState =
  'open' | 'committing' | 'committed' | 'refused' | 'uncertain' | 'rolled-back' | 'expired';

export class CommitQuery {
  /** How long to wait for the answer, in seconds. The commit is not undone when it takes longer. */
  @Optional() @IsNumber() @Min(0.001) @Max(MAX_TIMEOUT) readonly timeout?: number;
}
