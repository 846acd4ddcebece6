import { Injectable } from '@nestjs/common';
import { v7 as uuid } from 'uuid';
import type { CommandOptions, SeveralCommands, SeveralSlice, Step } from '#lib/waylog';
import type { Source } from '#lib/rest';
import {
  badFields,
  conflict,
  forbidden,
  invalidInput,
  IsKnownId,
  notFound,
  unavailable,
  WaylogError,
  counted,
} from '#lib/platform';
import { namedCommands, NamedCommands, refuseFields, underParameters, unknownCommand } from './commands.js';
import { JSON_BOUNDS, structureOf } from '../http/json-bounds.js';
import { bodyLength } from '../http/whole-body.js';
import type { BytesOf } from '../http/work-in-turn.js';
import { goingOn, secondsSince, within, type GoesOn } from './deadline.js';
import type {
  CommandRequest,
  CommandResponse,
  TransactionContext,
  TransactionRequest,
  TransactionState,
} from './models.js';
import { changedTogether, severalOn, thingIn } from './stream-keys.js';

const DEFAULT_TIME_LIMIT = 30;
const MAX_COMMANDS = 1_000;
const MAX_OPEN = 1_000;
/** The commands of one transaction, as JSON: they are recorded in one append, as those of one request are. */
const MAX_BYTES = 8 * 1024 * 1024;
/** Of all commands of all open transactions, as JSON. */
const MAX_COLLECTED_BYTES = 64 * 1024 * 1024;
/** The limit of both for one caller, so that none shuts out the others. */
const MAX_OPEN_EACH = 100;
const MAX_COLLECTED_BYTES_EACH = 16 * 1024 * 1024;
/** How long an ended transaction is remembered, so that a repeated commit gets its answer. */
const REMEMBERED_MS = 10 * 60 * 1_000;
const MAX_REMEMBERED = 10_000;

interface Transaction {
  readonly transactionId: string;
  /** The one thing that it changes, and the command as which it is committed. */
  readonly id: string;
  readonly slice: SeveralSlice;
  readonly serviceName: string;
  /** The caller that opened it. Only that caller can continue it: its events have one actor. */
  readonly actor: string;
  readonly startedAt: number;
  readonly expiresAt: number;
  readonly steps: Step[];
  /** The commands collected under an Idempotency-Key, as JSON. */
  readonly keys: Map<string, string>;
  state: TransactionState;
  /** How many commands it has collected. */
  count: number;
  /** Their size as JSON. */
  bytes: number;
  values: number;
  names: number;
  commit?: Promise<CommandResponse>;
}

/**
 * Transactions that collect commands of one thing until they are committed as one command: all of them are recorded,
 * or none. They are in the memory of this process: other processes do not know them, and they end with it.
 */
@Injectable()
export class OpenTransactions {
  readonly #transactions = new Map<string, Transaction>();
  #bytes = 0;

  constructor(private readonly commands: NamedCommands) {}

  /** Throws `transactions.too-many`. */
  open(request: TransactionRequest, actor: string): TransactionContext {
    const { serviceName, timeLimit } = request;
    const { id, slice } = theThingOf(request);
    this.#forget();
    const open = [...this.#transactions.values()].filter(({ state }) => isAlive(state));
    const own = open.filter((transaction) => transaction.actor === actor).length;
    if (open.length >= MAX_OPEN || own >= MAX_OPEN_EACH) {
      throw unavailable(
        'transactions.too-many',
        `${own} transactions of ${actor} are open in this server, and ${open.length} of all callers; the limits are ` +
          `${MAX_OPEN_EACH} and ${MAX_OPEN}. Commit some, or wait until they expire.`,
      );
    }
    const startedAt = Date.now();
    const transaction: Transaction = {
      transactionId: uuid(),
      id,
      slice,
      serviceName,
      actor,
      startedAt,
      expiresAt: startedAt + (timeLimit ?? DEFAULT_TIME_LIMIT) * 1_000,
      steps: [],
      keys: new Map(),
      state: 'open',
      count: 0,
      bytes: 0,
      values: 0,
      names: 0,
    };
    this.#transactions.set(transaction.transactionId, transaction);
    return contextOf(transaction);
  }

  /** Bytes of the commands that a transaction has collected; 0 if there is none. */
  bytesOf(id: string): number {
    return this.#transactions.get(id)?.bytes ?? 0;
  }

  /** Throws `transaction.not-found` and `transaction.of-another`. */
  get(id: string, actor: string): TransactionContext {
    return contextOf(this.#findOf(id, actor));
  }

  /**
   * Checks a command by its rules and keeps it for the commit. Nothing is recorded yet, and only the commit shows
   * whether the thing allows it. Throws `input.invalid`, `command.unknown`, `transaction.not-found`,
   * `transaction.of-another`, `transaction.ended`, `transaction.other-...` (such as `transaction.other-flight`) and `transaction.full`.
   */
  collect(
    transactionId: string,
    request: CommandRequest,
    { commandId, actor }: CommandOptions,
  ): CommandResponse {
    const began = performance.now();
    const transaction = this.#findOf(transactionId, actor);
    const { command: type, parameters } = request;
    if (!namedCommands.has(type)) throw unknownCommand(type);
    const { steps, stream } = transaction.slice;
    if (!steps.has(type))
      throw invalidInput([
        {
          field: 'command',
          message: `is ${type}, which cannot be part of a transaction on a ${stream.category.name}`,
        },
      ]);
    if (transaction.state !== 'open') throw ended(transaction);
    const { [stream.key]: id, ...fields }: Record<string, unknown> = { ...parameters };
    if (id !== undefined && id !== transaction.id) throw another(transaction, id);
    refuseFields(fields);
    const step: Step = { ...fields, type };
    checkStep(transaction, step);
    const json = JSON.stringify(step);
    const known = commandId === undefined ? undefined : transaction.keys.get(commandId);
    if (known !== undefined && known !== json) {
      throw conflict(
        'command.id-reused',
        `Transaction ${transactionId} has collected another command under the key ${commandId}. A key belongs to one command.`,
      );
    }
    if (known === undefined) {
      this.#add(transaction, step, Buffer.from(json));
      if (commandId !== undefined) transaction.keys.set(commandId, json);
    }
    return {
      success: true,
      transactionId,
      affectedRows: 0,
      executionTime: secondsSince(began),
      [stream.key]: transaction.id,
    };
  }

  /**
   * Records everything collected, or nothing. A repeat of the commit gets the same answer, for ten minutes. Throws the
   * refusal of the command, `transaction.not-found`, `transaction.ended` and `command.timeout`.
   */
  async commit(
    id: string,
    { actor, ...source }: { readonly actor: string } & Source,
    timeout?: number | null,
    goesOn: GoesOn = () => undefined,
  ): Promise<CommandResponse> {
    const transaction = this.#findOf(id, actor);
    if (!transaction.commit) {
      if (transaction.state !== 'open' && transaction.state !== 'uncertain') throw ended(transaction);
      transaction.state = 'committing';
      transaction.commit = this.#commit(transaction, source);
      transaction.commit.catch(() => undefined);
    }
    return within(timeout, goingOn(goesOn, transaction.commit), (seconds) => commitTimeout(id, seconds));
  }

  /** Discards what was collected. Throws `transaction.not-found`, and `transaction.ended` once a commit has begun. */
  rollback(id: string, actor: string): TransactionContext {
    const transaction = this.#findOf(id, actor);
    if (['committing', 'committed', 'uncertain'].includes(transaction.state)) throw ended(transaction);
    if (transaction.state === 'open') this.#end(transaction, 'rolled-back');
    return contextOf(transaction);
  }

  async #commit(transaction: Transaction, source: Source): Promise<CommandResponse> {
    const { transactionId, id, slice, serviceName, actor, steps } = transaction;
    const { key } = slice.stream;
    const began = performance.now();
    try {
      const answer: CommandResponse =
        steps.length === 0
          ? { success: true, affectedRows: 0, executionTime: secondsSince(began), [key]: id }
          : await this.commands.execute(
              slice,
              severalOf(transaction, steps, {
                commandId: transactionId,
                actor,
                onBehalfOf: serviceName,
                ...source,
              }),
              transactionId,
              undefined,
            );
      this.#end(transaction, 'committed');
      return { ...answer, transactionId };
    } catch (error) {
      if (error instanceof WaylogError && error.kind !== 'unavailable') {
        this.#end(transaction, 'refused');
      } else {
        // It may have been recorded: committing again, with the same command id, shows it.
        transaction.state = 'uncertain';
        delete transaction.commit;
      }
      throw error;
    }
  }

  #add(transaction: Transaction, step: Step, json: Buffer): void {
    const { values, names } = structureOf(json);
    const full = this.#whyFull(transaction, { bytes: json.length, values, names });
    if (full !== undefined) throw conflict('transaction.full', full);
    transaction.steps.push(step);
    transaction.count++;
    transaction.bytes += json.length;
    transaction.values += values;
    transaction.names += names;
    this.#bytes += json.length;
  }

  /** Why a transaction accepts no more commands, or not this one. */
  #whyFull(
    { transactionId, actor, count, ...holds }: Transaction,
    more: { readonly bytes: number; readonly values: number; readonly names: number },
  ): string | undefined {
    if (count >= MAX_COMMANDS)
      return `Transaction ${transactionId} holds ${counted(MAX_COMMANDS, 'command')}, which is the limit. Commit it, or use commands that take many at once.`;
    if (
      holds.bytes + more.bytes > MAX_BYTES ||
      holds.values + more.values > JSON_BOUNDS.values ||
      holds.names + more.names > JSON_BOUNDS.names
    )
      return `Transaction ${transactionId} holds as much as one request may: ${MAX_BYTES / 2 ** 20} MiB, ${JSON_BOUNDS.values} values and ${JSON_BOUNDS.names} fields of all its commands together. Commit it, and open another one for the rest.`;
    if (this.#bytes + more.bytes > MAX_COLLECTED_BYTES || this.#isGreedy(actor, more.bytes))
      return `The open transactions hold as much as they may: ${MAX_COLLECTED_BYTES_EACH / 2 ** 20} MiB of one caller, ${MAX_COLLECTED_BYTES / 2 ** 20} MiB of all. Commit some first.`;
    return undefined;
  }

  /** Whether a caller would exceed its share. */
  #isGreedy(actor: string, bytes: number): boolean {
    if (this.#bytes + bytes <= MAX_COLLECTED_BYTES_EACH) return false;
    const own = [...this.#transactions.values()].filter((transaction) => transaction.actor === actor);
    return own.reduce((sum, transaction) => sum + transaction.bytes, bytes) > MAX_COLLECTED_BYTES_EACH;
  }

  #findOf(id: string, actor: string | undefined): Transaction {
    const transaction = this.#find(id);
    if (transaction.actor === actor) return transaction;
    throw forbidden(
      'transaction.of-another',
      `Transaction ${id} was opened with another key. Open one of your own.`,
      { transactionId: id },
    );
  }

  #find(id: string): Transaction {
    this.#forget();
    const transaction = this.#transactions.get(id);
    if (transaction) return transaction;
    throw notFound(
      'transaction.not-found',
      `There is no transaction ${id} in this server. Transactions are known to the process that opened them, and for ten ` +
        `minutes after their end. Nothing of one that was not committed has been recorded.`,
      { transactionId: id },
    );
  }

  #end(transaction: Transaction, state: TransactionState): void {
    transaction.state = state;
    this.#bytes -= transaction.bytes;
    transaction.bytes = 0;
    transaction.steps.length = 0;
    transaction.keys.clear();
  }

  /** Ends expired transactions, and forgets those that ended long ago. Maps keep their order: the oldest come first. */
  #forget(): void {
    const now = Date.now();
    for (const [id, transaction] of this.#transactions) {
      if (transaction.state === 'open' && transaction.expiresAt <= now) this.#end(transaction, 'expired');
      const isOld = transaction.expiresAt + REMEMBERED_MS <= now || this.#transactions.size > MAX_REMEMBERED;
      if (isOld && transaction.state !== 'open' && transaction.state !== 'committing') {
        this.#bytes -= transaction.bytes;
        this.#transactions.delete(id);
      }
    }
  }
}

const isAlive = (state: TransactionState) =>
  state === 'open' || state === 'committing' || state === 'uncertain';

/** What a request for a transaction names. Throws `input.invalid`. */
function theThingOf(request: TransactionRequest) {
  const thing = thingIn(request, changedTogether);
  const slice = thing && severalOn(thing.stream);
  if (slice) return { id: thing.id, slice };
  const keys = changedTogether.map(({ key }) => key);
  throw invalidInput([
    { field: keys.join(), message: `one of ${keys.join(', ')} must name what it changes` },
  ]);
}

/** The command as which a transaction is committed. */
function severalOf({ slice, id }: Transaction, commands: readonly Step[], options: CommandOptions) {
  const Command = slice.command as new (fields: object) => SeveralCommands;
  return new Command({ ...options, [slice.stream.key]: id, commands });
}

/** By the rules of the transaction that the step will be part of. */
function checkStep(transaction: Transaction, step: Step): void {
  try {
    transaction.slice.check(severalOf(transaction, [step], {}));
  } catch (error) {
    throw underParameters(error, 'commands[0].');
  }
}

const contextOf = (transaction: Transaction): TransactionContext => ({
  transactionId: transaction.transactionId,
  serviceName: transaction.serviceName,
  [transaction.slice.stream.key]: transaction.id,
  startedAt: new Date(transaction.startedAt).toISOString(),
  commandsExecuted: transaction.count,
  isActive: transaction.state === 'open',
  expiresAt: new Date(transaction.expiresAt).toISOString(),
  state: transaction.state,
});

const howItEnded: Record<TransactionState, string> = {
  open: 'is open',
  committing: 'is being committed. Commit it again to get the answer',
  committed: 'has been committed. Commit it again to get the answer, and open another one for more',
  refused: 'was refused when it was committed; nothing was recorded. Open another one',
  uncertain: 'was committed without an answer and may have been recorded. Commit it again to know',
  'rolled-back': 'was thrown away; nothing was recorded. Open another one',
  expired: 'has reached its time limit; nothing was recorded. Open another one, with a longer timeLimit',
};

const ended = ({ transactionId, state }: Transaction) =>
  conflict('transaction.ended', `Transaction ${transactionId} ${howItEnded[state]}.`, {
    transactionId,
    state,
  });

class KnownId {
  @IsKnownId() readonly id!: string;
}

/** The error for a command of another thing, or of an impossible one. */
function another({ transactionId, slice, id }: Transaction, other: unknown): WaylogError {
  const { key, category } = slice.stream;
  const [bad] = badFields(KnownId, { id: other });
  if (bad) return underParameters(invalidInput([{ ...bad, field: key }])) as WaylogError;
  return conflict(
    `transaction.other-${category.name}`,
    `Transaction ${transactionId} changes ${category.name} ${id}, and the command is for ${JSON.stringify(other)}. One ` +
      `${category.name} is the limit of what is recorded together: open another transaction for the other one.`,
  );
}

const commitTimeout = (id: string, seconds: number) =>
  unavailable(
    'command.timeout',
    `No answer within ${seconds} s. The transaction goes on being committed and MAY HAVE BEEN RECORDED. Commit ${id} ` +
      `again: it is recorded once, and you get its answer.`,
    { commandId: id },
  );

/** Bytes of the commands that a request executes: those of its body, or of the transaction that it commits. */
export const commandBytes =
  (transactions: OpenTransactions): BytesOf =>
  (request) =>
    request.routeOptions.url === '/v1/transactions/:transactionId/commit'
      ? transactions.bytesOf((request.params as { readonly transactionId: string }).transactionId)
      : bodyLength(request);
