import type { JsonObject, Origin } from '../event-store.js';

/** A fact of the domain, before the log has given it a place. */
export interface DomainEvent {
  readonly type: string;
  readonly data: JsonObject;
}

/**
 * How the state behind decisions is made from events. `evolve` may change the state it is given and returns it; it never
 * fails and never asks the time: the event has happened.
 */
export interface Decider<State, Event extends DomainEvent> {
  readonly initialState: () => State;
  readonly evolve: (state: State, event: Event) => State;
  /** A copy to try events on, cheap however large the state is; the original must not notice. */
  readonly fork: (state: State) => State;
  /** What a state becomes that was read from a snapshot, where every map is a plain one; left out, it stays as it is. */
  readonly revive?: (state: State) => State;
  /** About how many bytes of memory the state takes; the cache is bounded by the sum. Asked after every command. */
  readonly sizeOf: (state: State) => number;
  /** Counts up with every change of the state's shape or of `evolve`: older snapshots are left alone. */
  readonly version: number;
}

/** What a decision comes to: events, and what the caller is told beyond revision and position. */
export interface Decided<Event, Answer extends object> {
  readonly events: readonly Event[];
  readonly answer: Answer;
}

/**
 * A pure function from state to events. It may refuse by throwing a WaylogError and must not change the state. No events
 * means that the command is no news.
 */
export type Decision<State, Event, Answer extends object = object> = (
  state: State,
) => readonly Event[] | Decided<Event, Answer>;

/** Who sends a command, in answer to what, and when. */
export interface CommandContext {
  /** Names the command for good: sending it again changes nothing and returns the first result. */
  readonly commandId?: string;
  readonly correlationId?: string;
  readonly causationId?: string;
  readonly actor?: string;
  readonly onBehalfOf?: string;
  readonly origin?: Origin;
  /** The type of the command, for the audit trail. */
  readonly command: string;
  /** Tells the content of a command with an id from that of another: the same id with another content is refused. */
  readonly fingerprint?: string;
}

/** Where a command left the stream. */
export interface Appended {
  /** The stream's last revision after the command. */
  readonly revision: number;
  /** The position to wait for to read what the command wrote. */
  readonly position: string;
}
