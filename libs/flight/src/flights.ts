import { validate, type Timestamp } from '#lib/platform';
import type { DecisionStreams } from '#lib/event-store';
import type { CommandResult, FlightCommand, Slice } from './command.js';
import type { FlightEvent } from './events.js';
import type { Flight } from './flight.js';

/** The way of a command: check it, decide it in the flight's mailbox, have the log accept it, answer. */
export class Flights {
  constructor(
    readonly streams: DecisionStreams<Flight, FlightEvent>,
    private readonly now: () => Timestamp = () => new Date().toISOString(),
  ) {}

  /** Throws `input.invalid` before anything happens, what the decision refuses with, and what `DecisionStreams.change` throws. */
  async execute<C extends FlightCommand<Answer>, Answer extends object>(
    { command: type, decide }: Slice<C, Answer>,
    command: C,
  ): Promise<CommandResult & Answer> {
    validate(type, command);
    const { flightId, commandId, correlationId, causationId, actor } = command;
    const result = await this.streams.change(flightId, decide(command, this.now()), {
      command: type.name,
      ...(commandId && { commandId }),
      ...(correlationId && { correlationId }),
      ...(causationId && { causationId }),
      ...(actor && { actor }),
    });
    return { flightId, ...result };
  }
}
