import { WaylogError } from '#lib/platform';
import { eventsOf, wholeOf, type Decision } from '#lib/event-store';
import type { FlightEvent, FlightEvents, FlightEventType } from '../events.js';
import { evolve, noFlight, type Flight } from '../flight.js';

/** The time at which the commands of these tests are sent. */
export const NOW = '2026-05-01T12:00:00.000Z';

export const event = <Type extends FlightEventType>(type: Type, data: FlightEvents[Type]): FlightEvent =>
  ({ type, data }) as FlightEvent;

/** Given these events, when this is decided, then these events (or a refusal): decisions read as sentences. */
export function given(...history: FlightEvent[]) {
  const flight = () => history.reduce<Flight>(evolve, noFlight());
  return {
    when(decide: (flight: Flight) => Decision<FlightEvent, object, unknown>) {
      const run = () => decide(flight());
      return {
        then: (...expected: FlightEvent[]) => expect(eventsOf(run())).toEqual(expected),
        thenNothing: () => expect(eventsOf(run())).toEqual([]),
        thenAnswer(answer: object) {
          expect(wholeOf(run()).answer ?? {}).toEqual(answer);
        },
        thenRefused(code: string) {
          let refusal: unknown;
          try {
            run();
          } catch (error) {
            refusal = error;
          }
          expect(refusal).toBeInstanceOf(WaylogError);
          expect((refusal as WaylogError).code).toBe(code);
        },
      };
    },
  };
}

export const created = event('FlightCreated', {
  name: 'Test',
  description: '',
  startGps: { lat: 63.4, lon: 10.4 },
  altitude: 120,
  cameraParams: {},
  createdAt: NOW,
  updatedAt: NOW,
});
