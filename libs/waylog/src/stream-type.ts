import type { Category, Decider, DomainEvent, KnownEvents } from '#lib/event-store';
import type { Timestamp } from '#lib/platform';

/** Refuses, by throwing a WaylogError, the events that a decision has made of a state. `at` is when the command was sent. */
export type DoorCheck<State, Event> = (
  id: string,
  state: State,
  events: readonly Event[],
  at: Timestamp,
) => void;

/** A kind of thing that commands change. Each has a stream of its own, in which its commands are decided in one order. */
export interface StreamType<State, Event extends DomainEvent> {
  readonly category: Category;
  /** The field of its commands and of their results that names the thing, such as `flightId`. */
  readonly key: string;
  readonly decider: Decider<State, Event>;
  /** The types of its events. */
  readonly eventTypes: ReadonlySet<string>;
  /** Old versions of its events, and which of their fields are sealed. */
  readonly events?: KnownEvents;
  /** What every command is held to besides its own rules, made from the settings of the context. */
  readonly door?: (settings: never) => DoorCheck<State, Event>;
}

/** One of any kind: the kernel passes states and events on, and does not look into them. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- a decider takes its state and gives it back: no other type fits all
export type AnyStreamType = StreamType<any, any>;
