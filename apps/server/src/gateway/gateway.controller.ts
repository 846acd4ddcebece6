import { Controller, Delete, Get, Header, Post } from '@nestjs/common';
import type { CommandOptions, ReadOptions } from '#lib/waylog';
import {
  Actor,
  Answers,
  Freshness,
  From,
  Id,
  Needs,
  Operation,
  Sender,
  type Source,
  Tag,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
import { NamedCommands } from './commands.js';
import { CallerGone, WorkGoesOn, type GoesOn } from './deadline.js';
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

/** Commands and queries by their names, SQL that reads, and transactions: for a service without its own client. */
@Tag('gateway')
@Controller('v1')
export class GatewayController {
  constructor(
    private readonly commands: NamedCommands,
    private readonly queries: NamedQueries,
    private readonly transactions: OpenTransactions,
    private readonly sql: ReadOnlySql,
  ) {}

  @Post('commands')
  @Needs('operator')
  @Operation({ summary: 'Run a command by name', description: 'Or collect it in an open transaction.' })
  @Answers(200, CommandResponse)
  async command(
    @ValidBody(CommandRequest) request: CommandRequest,
    @Sender() sender: CommandOptions,
    @WorkGoesOn() goesOn: GoesOn,
  ) {
    return request.transactionId
      ? this.transactions.collect(request.transactionId, request, sender)
      : this.commands.run(request, sender, goesOn);
  }

  @Post('queries')
  @Needs('reader')
  @Operation({ summary: 'Run a query by name, or SQL that reads' })
  @Header('content-type', 'application/json; charset=utf-8')
  @Answers(200, QueryResponse)
  query(
    @ValidBody(QueryRequest) request: QueryRequest,
    @Freshness() options: ReadOptions,
    @Actor() actor: string,
    @CallerGone() gone: AbortSignal,
    @WorkGoesOn() goesOn: GoesOn,
  ) {
    return this.queries.run(request, options, { actor, gone, goesOn });
  }

  @Get('admin/ad-hoc-sql')
  @Needs('operator')
  @Operation({
    summary: 'Read the status of ad-hoc SQL',
    description: 'Whether it is available, its limits, and what it could do that it should not.',
  })
  @Answers(200, ReadOnlySqlStatus)
  sqlStatus() {
    return this.sql.status();
  }

  @Post('transactions')
  @Needs('operator')
  @Operation({ summary: 'Open a transaction' })
  @Answers(201, TransactionContext)
  open(@ValidBody(TransactionRequest) request: TransactionRequest, @Actor() actor: string) {
    return this.transactions.open(request, actor);
  }

  @Get('transactions/:transactionId')
  @Needs('operator')
  @Operation({ summary: 'Read a transaction' })
  @Answers(200, TransactionContext)
  transaction(@Id('transactionId') id: string, @Actor() actor: string) {
    return this.transactions.get(id, actor);
  }

  @Post('transactions/:transactionId/commit')
  @Needs('operator')
  @Operation({
    summary: 'Commit a transaction',
    description: 'Records all of its commands, or none. Committing again answers the same.',
  })
  @Answers(200, CommandResponse)
  commit(
    @Id('transactionId') id: string,
    @ValidQuery(CommitQuery) { timeout }: CommitQuery,
    @Actor() actor: string,
    @From() source: Source,
    @WorkGoesOn() goesOn: GoesOn,
  ) {
    return this.transactions.commit(id, { actor, ...source }, timeout, goesOn);
  }

  @Delete('transactions/:transactionId')
  @Needs('operator')
  @Operation({ summary: 'Roll back a transaction', description: 'Throws its commands away.' })
  @Answers(200, TransactionContext)
  rollback(@Id('transactionId') id: string, @Actor() actor: string) {
    return this.transactions.rollback(id, actor);
  }
}
