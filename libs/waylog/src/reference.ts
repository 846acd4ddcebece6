import type { DomainEvent } from '#lib/event-store';
import type { AnyStreamType, StreamType } from './stream-type.js';

/** A stream whose state a decision on another stream reads. */
export interface Reference {
  readonly stream: AnyStreamType;
  readonly id: string;
}

/** By the names that the decision has for them. */
export type References = Readonly<Record<string, Reference>>;

/** The states of these streams. One that holds no event has the initial state of its type. */
export type StatesOf<R> = {
  readonly [Name in keyof R]: R[Name] extends {
    readonly stream: StreamType<infer State, infer _ extends DomainEvent>;
  }
    ? State
    : never;
};
