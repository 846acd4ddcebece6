import { IsKnownId, type Class } from '#lib/platform';
import type { Appended } from '#lib/event-store';
import { StreamCommand, type CommandOptions, type Slice as SliceOn } from '#lib/waylog';
import type { FlightEvent } from './events.js';
import type { Flight } from './flight.js';
import { flightStream } from './flight-stream.js';

export { idOf, newId, type CommandOptions } from '#lib/waylog';

/** What every command returns: the end of the flight's stream after it. */
export interface CommandResult extends Appended {
  readonly flightId: string;
}

/** A requested change of one flight. `Answer` is what its result has besides flight, revision and position. */
export abstract class FlightCommand<Answer extends object = object> extends StreamCommand<
  CommandResult & Answer
> {
  @IsKnownId() readonly flightId!: string;

  constructor(fields: { readonly flightId: string } & CommandOptions) {
    super(fields);
  }
}

type AnswerOf<C> = C extends FlightCommand<infer Answer> ? Answer : never;

/** A command with its decision on a flight, whose answer is what the class of the command says. */
export type Slice<C extends FlightCommand> = SliceOn<
  C,
  Flight,
  FlightEvent,
  AnswerOf<C>,
  Record<string, never>
>;

export const slice = <C extends FlightCommand>(command: Class<C>, decide: Slice<C>['decide']): Slice<C> => ({
  stream: flightStream,
  command,
  decide,
});
