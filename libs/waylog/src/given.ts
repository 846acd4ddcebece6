import { deepStrictEqual, fail } from 'node:assert/strict';
import { eventsOf, wholeOf, type DomainEvent } from '#lib/event-store';
import { WaylogError } from '#lib/platform';
import type { Sent, Slice } from './command.js';
import type { References } from './reference.js';
import type { StreamType } from './stream-type.js';

const NOW = '2026-05-01T12:00:00.000Z';

/** What a command says. NestJS gives its class a further property, for its result, which no instance has. */
type FieldsOf<C> = { readonly [Field in keyof C as Field extends string ? Field : never]: C[Field] };

/**
 * Given these events of a stream, when a command is decided, then these events, or a refusal:
 * `given(plotStream, marked).when(measurePlot, { metres: 3 }).then(measured)`. Throws an AssertionError.
 */
export function given<State, Event extends DomainEvent>(
  stream: StreamType<State, Event>,
  ...history: readonly Event[]
) {
  const { initialState, evolve } = stream.decider;
  return {
    /** `sent`: when the command is sent, and the states of the streams that the slice reads. */
    when<C extends object, Answer extends object, Reads extends References>(
      slice: Slice<C, State, Event, Answer, Reads>,
      command: FieldsOf<C>,
      sent: Partial<Sent<Reads>> = {},
    ) {
      const { at = NOW, reads = {} } = sent;
      const decide = () =>
        slice.decide(command as C, history.reduce(evolve, initialState()), {
          at,
          reads: reads as Sent<Reads>['reads'],
        });
      return {
        then: (...expected: readonly Event[]): void => deepStrictEqual(eventsOf(decide()), expected),
        thenNothing: (): void => deepStrictEqual(eventsOf(decide()), []),
        thenAnswer: (answer: Answer): void => deepStrictEqual(wholeOf(decide()).answer ?? {}, answer),
        thenRefused(code: string): void {
          try {
            decide();
          } catch (error) {
            if (!(error instanceof WaylogError)) throw error;
            deepStrictEqual(error.code, code);
            return;
          }
          fail(`It was not refused with ${code}.`);
        },
      };
    },
  };
}
