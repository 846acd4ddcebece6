import { Controller, Post } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import { ArrayMaxSize, ArrayMinSize, IsArray } from 'class-validator';
import { Example } from '#lib/platform';
import { Answers, Needs, Operation, Sender, Tag, ValidBody } from '#lib/rest';
import type { CommandOptions, ContextPart, Step } from '#lib/waylog';
import { FlightId, TransactionResult } from './rest.js';
import { Transact } from './transact.js';

@Example<TransactionBody>({
  commands: [
    { type: 'SaveHeading', heading: { frameId: 0, heading: 92.5, timestamp: '2026-05-01T12:00:00.500Z' } },
    { type: 'SaveImageMetadata', image: { frameId: 0, filePath: '/images/fjord-1/0.jpg' } },
  ],
})
class TransactionBody {
  /** Commands without their flight, such as `{ "type": "UpdateWaypoint", "waypoint": { ... } }`. */
  @IsArray() @ArrayMinSize(1) @ArrayMaxSize(1_000) readonly commands!: Step[];
}

@Tag('flights')
@Controller('v1/flights/:id')
export class TransactController {
  constructor(private readonly commands: CommandBus) {}

  @Post('transactions')
  @Needs('operator')
  @Operation({ summary: 'Run several commands of one flight', description: 'All are recorded, or none.' })
  @Answers(200, TransactionResult)
  transact(
    @FlightId() flightId: string,
    @ValidBody(TransactionBody) { commands }: TransactionBody,
    @Sender() sender: CommandOptions,
  ) {
    return this.commands.execute(new Transact({ ...sender, flightId, commands }));
  }
}

export const transactPart: ContextPart = { controllers: [TransactController] };
