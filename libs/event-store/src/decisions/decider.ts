import type { Traceparent } from '#lib/platform';
import type { JsonObject, Origin } from '../event-store.js';
import type { Claim } from './claims.js';

/** A domain event before the log has given it a position. */
export interface DomainEvent {
  readonly type: string;
  readonly data: JsonObject;
}

/**
 * How the state for decisions is folded from events. `evolve` can change the state that it is given, and returns it. It
 * never fails and never reads the clock: the event has happened.
 */
export interface Decider<State, Event extends DomainEvent> {
  readonly initialState: () => State;
  readonly evolve: (state: State, event: Event) => State;
  /** A copy to try events on, cheap however large the state is. The original must not change. */
  readonly fork: (state: State) => State;
  /** Restores a state from a snapshot, in which every map is a plain one; by default it stays as it is. */
  readonly revive?: (state: State) => State;
  /** The approximate size of the state in bytes; the cache limits the sum. Called after every command. */
  readonly sizeOf: (state: State) => number;
  /** Increases with every change of the state's shape or of `evolve`: older snapshots are ignored. */
  readonly version: number;
}

/** A decision that comes to more than events. */
export interface WholeDecision<Event, Answer extends object = object, C = Claim> {
  readonly events: readonly Event[];
  /** What the caller is told besides revision and position. */
  readonly answer?: Answer;
  /** Values that the stream holds from these events on. Refused if another stream holds one. */
  readonly takes?: readonly C[];
  /** Values that the stream gives back with these events; `all`: whatever it holds. */
  readonly releases?: readonly C[] | 'all';
}

/** What a command comes to. A list is nothing but events. No events: the command changes nothing. */
export type Decision<Event, Answer extends object = object, C = Claim> =
  readonly Event[] | WholeDecision<Event, Answer, C>;

const isList = <Event>(decision: Decision<Event, object, unknown>): decision is readonly Event[] =>
  Array.isArray(decision);

export const wholeOf = <Event, Answer extends object, C>(
  decision: Decision<Event, Answer, C>,
): WholeDecision<Event, Answer, C> => (isList(decision) ? { events: decision } : decision);

/** The events of a decision. */
export const eventsOf = <Event>(decision: Decision<Event, object, unknown>): readonly Event[] =>
  isList(decision) ? decision : decision.events;

/** Who sends a command, in answer to what, and when. */
export interface CommandContext {
  /** The permanent id of the command: sending it again changes nothing and returns the first result. */
  readonly commandId?: string;
  readonly correlationId?: string;
  readonly causationId?: string;
  readonly actor?: string;
  readonly onBehalfOf?: string;
  readonly origin?: Origin;
  /** The type of the command, for the audit trail. */
  readonly command: string;
  /** A hash of the content of a command with an id: the same id with another content is refused. */
  readonly fingerprint?: string;
  /** The span of the command, if its trace is kept. */
  readonly traceparent?: Traceparent;
}

/** The end of the stream after a command. */
export interface Appended {
  /** The stream's last revision after the command. */
  readonly revision: number;
  /** The position to wait for to read what the command wrote. */
  readonly position: string;
}
