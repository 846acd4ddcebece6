import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { DataKeys } from '#lib/event-store';
import { RunningContexts } from '#lib/waylog';
import type { CommandResult } from '../command.js';
import { flightStreams } from '../events.js';
import { flightStream } from '../flight-stream.js';
import { EraseFlight, eraseFlight, type StillInTables } from './erase-flight.js';

/** How long the tables can take to follow before the answer says that they have not. */
const TABLES_MS = 5_000;

/**
 * Answers when the key is deleted and the tables have followed, or with the reason why they have not. The key is
 * deleted with the append of the erasure. A client without an answer sends the command again; a repeat appends nothing
 * and deletes what was left.
 */
@CommandHandler(EraseFlight)
export class EraseFlightHandler implements ICommandHandler<EraseFlight, CommandResult & StillInTables> {
  constructor(
    private readonly contexts: RunningContexts,
    private readonly keys: DataKeys,
  ) {}

  async execute(command: EraseFlight): Promise<CommandResult & StillInTables> {
    const streamId = flightStreams.streamOf(command.flightId);
    const { watch } = this.contexts.ofStream(flightStream);
    const result = (await this.contexts
      .runnerOf(flightStream)
      .execute(eraseFlight, command)) as CommandResult;
    await this.keys.forget(streamId);
    const waits = await watch.lacks(streamId, result.position, TABLES_MS);
    return waits === undefined ? result : { ...result, waits };
  }
}
