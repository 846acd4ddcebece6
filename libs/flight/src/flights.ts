import { createHash } from 'node:crypto';
import { DEFAULT_FLIGHT_DAYS, validate, WaylogError, type Timestamp, type Writable } from '#lib/platform';
import type { CommandContext, DecisionStreams } from '#lib/event-store';
import type { CommandResult, FlightCommand, Slice } from './command.js';
import type { FlightEvent } from './events.js';
import { DEFAULT_TIMES, refuseTimesOutside, type TimesWindow } from './days/times-window.js';
import { refuseTooManyDays, type Flight } from './flight.js';

/**
 * `done`: recorded, or nothing to change. `refused`: by its rules or the domain's. `failed`: not known to be recorded.
 */
export type CommandOutcome = 'done' | 'refused' | 'failed';

export type CommandObserver = (
  command: string,
  outcome: CommandOutcome,
  seconds: number,
) => void | Promise<void>;

/** Calls an observer. An error in the observer does not affect the command or query. */
export const tell =
  (observer: CommandObserver, onFailure: (error: unknown) => void) =>
  (...seen: Parameters<CommandObserver>): void => {
    const told = async () => observer(...seen);
    told().catch(onFailure);
  };

/** The steps of a command: check it, decide it in the flight's mailbox, append to the log, answer. */
export class Flights {
  constructor(
    readonly streams: DecisionStreams<Flight, FlightEvent>,
    private readonly observe: ReturnType<typeof tell> = () => undefined,
    /** The most different days that the frames and headings of one flight can be on. */
    private readonly mostDays: number = DEFAULT_FLIGHT_DAYS,
    private readonly now: () => Timestamp = () => new Date().toISOString(),
    private readonly times: TimesWindow = DEFAULT_TIMES,
  ) {}

  /** Throws `input.invalid` before anything happens, what the decision refuses with, and what `DecisionStreams.change` throws. */
  async execute<C extends FlightCommand<Answer>, Answer extends object>(
    slice: Slice<C, Answer>,
    command: C,
  ): Promise<CommandResult & Answer> {
    const began = performance.now();
    const end = (outcome: CommandOutcome) =>
      this.observe(slice.command.name, outcome, (performance.now() - began) / 1_000);
    try {
      validate(slice.command, command);
      const { flightId, commandId, correlationId, causationId, actor, onBehalfOf, origin } = command;
      const context: Writable<CommandContext> = { command: slice.command.name };
      if (commandId) {
        context.commandId = commandId;
        context.fingerprint = fingerprintOf(command);
      }
      if (correlationId) context.correlationId = correlationId;
      if (causationId) context.causationId = causationId;
      if (actor) context.actor = actor;
      if (onBehalfOf) context.onBehalfOf = onBehalfOf;
      if (origin) context.origin = origin;
      const now = this.now();
      const decide = slice.decide(command, now);
      const decideAtTheDoor: typeof decide = (flight) => {
        const decided = decide(flight);
        const events = 'answer' in decided ? decided.events : decided;
        refuseTooManyDays(flight, flightId, events, this.mostDays);
        refuseTimesOutside(flightId, events, this.times, now);
        return decided;
      };
      const result = await this.streams.change(flightId, decideAtTheDoor, context);
      end('done');
      return { flightId, ...result };
    } catch (error) {
      end(error instanceof WaylogError && error.kind !== 'unavailable' ? 'refused' : 'failed');
      throw error;
    }
  }
}

/** The content of a command without its sender and cause: the same for a repeat, whatever the order of its fields. */
function fingerprintOf(command: FlightCommand): string {
  const {
    commandId: _id,
    correlationId: _correlation,
    causationId: _causation,
    actor: _actor,
    onBehalfOf: _onBehalfOf,
    origin: _origin,
    ...content
  } = command;
  const sorted = JSON.stringify(content, (_key, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
  return createHash('sha256').update(sorted).digest('base64url').slice(0, 16);
}
