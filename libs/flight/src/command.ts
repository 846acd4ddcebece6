import { IsKnownId, type Class } from '#lib/platform';
import type { Appended } from '#lib/event-store';
import {
  StreamCommand,
  type CommandOptions,
  type Decide as DecideOn,
  type Slice as SliceOn,
} from '#lib/waylog';
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

/** The pure half of a command: what it means for a flight. `at` is when it was sent. */
export type Decide<C, Answer extends object = object> = DecideOn<C, Flight, FlightEvent, Answer>;

/** A command with its decision. `changes.ts` lists them all. */
export type Slice<C extends FlightCommand<Answer>, Answer extends object = object> = SliceOn<
  C,
  Flight,
  FlightEvent,
  Answer
>;

export const slice = <C extends FlightCommand<Answer>, Answer extends object = object>(
  command: Class<C>,
  decide: Decide<C, Answer>,
): Slice<C, Answer> => ({ stream: flightStream, command, decide });
