import { Controller, Delete, Get, Header, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { CommandOptions, ReadOptions } from '#lib/flight';
import { Answers } from '../http/answer.js';
import { Actor, Freshness, Id, Sender, ValidBody, ValidQuery } from '../http/input.js';
import { NamedCommands } from './commands.js';
import { CallerGone } from './deadline.js';
import {
  CommandRequest,
  CommandResponse,
  CommitQuery,
  QueryRequest,
  QueryResponse,
  TransactionContext,
  TransactionRequest,
} from './models.js';
import { NamedQueries } from './queries.js';
import { ReadOnlySql, ReadOnlySqlStatus } from './read-only-sql.js';
import { OpenTransactions } from './transactions.js';

/** Commands and queries by their names, SQL that reads, and transactions: what a service without a client of its own needs. */
@ApiTags('gateway')
@Controller('v1')
export class GatewayController {
  constructor(
    private readonly commands: NamedCommands,
    private readonly queries: NamedQueries,
    private readonly transactions: OpenTransactions,
    private readonly sql: ReadOnlySql,
  ) {}

  @Post('commands')
  @Answers(200, CommandResponse)
  async command(@ValidBody(CommandRequest) request: CommandRequest, @Sender() sender: CommandOptions) {
    return request.transactionId
      ? this.transactions.collect(request.transactionId, request, sender)
      : this.commands.run(request, sender);
  }

  @Post('queries')
  @Header('content-type', 'application/json; charset=utf-8')
  @Answers(200, QueryResponse)
  query(
    @ValidBody(QueryRequest) request: QueryRequest,
    @Freshness() options: ReadOptions,
    @Actor() actor: string,
    @CallerGone() gone: AbortSignal,
  ) {
    return this.queries.run(request, options, { actor, gone });
  }

  /** Whether ad-hoc SQL can be had, its limits, and what it could do that it should not. */
  @Get('admin/ad-hoc-sql')
  @Answers(200, ReadOnlySqlStatus)
  sqlStatus() {
    return this.sql.status();
  }

  @Post('transactions')
  @Answers(201, TransactionContext)
  open(@ValidBody(TransactionRequest) request: TransactionRequest, @Actor() actor: string) {
    return this.transactions.open(request, actor);
  }

  @Get('transactions/:transactionId')
  @Answers(200, TransactionContext)
  transaction(@Id('transactionId') id: string, @Actor() actor: string) {
    return this.transactions.get(id, actor);
  }

  /** Records all commands of the transaction, or none. Committing again answers the same. */
  @Post('transactions/:transactionId/commit')
  @Answers(200, CommandResponse)
  commit(
    @Id('transactionId') id: string,
    @ValidQuery(CommitQuery) { timeout }: CommitQuery,
    @Actor() actor: string,
  ) {
    return this.transactions.commit(id, actor, timeout);
  }

  /** Throws the commands of the transaction away. */
  @Delete('transactions/:transactionId')
  @Answers(200, TransactionContext)
  rollback(@Id('transactionId') id: string, @Actor() actor: string) {
    return this.transactions.rollback(id, actor);
  }
}
