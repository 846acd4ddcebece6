import { Category, deciderOf } from '#lib/event-store';
import { conflict, IsKnownId } from '#lib/platform';
import { slicesOn, StreamCommand } from './command.js';
import { given } from './given.js';
import type { StreamType } from './stream-type.js';

type LampEvent = { readonly type: 'SwitchedOn'; readonly data: { readonly at: string } };

const lampStream: StreamType<{ readonly isOn: boolean }, LampEvent> = {
  category: new Category('lamp'),
  key: 'lampId',
  decider: deciderOf<{ readonly isOn: boolean }, LampEvent>({
    version: 1,
    initialState: () => ({ isOn: false }),
    evolve: () => ({ isOn: true }),
  }),
  eventTypes: new Set(['SwitchedOn']),
};

class SwitchOn extends StreamCommand {
  @IsKnownId() readonly lampId!: string;
}
const slice = slicesOn(lampStream);
const switchOn = slice(
  SwitchOn,
  { reads: () => ({ other: { stream: lampStream, id: 'other' } }) },
  ({ lampId }, { isOn }, { at, reads: { other } }) => {
    if (other.isOn) throw conflict('lamp.no-power', `There is no power for ${lampId}.`);
    return { events: isOn ? [] : [{ type: 'SwitchedOn', data: { at } }], answer: { watts: 40 } };
  },
);
const off = { reads: { other: { isOn: false } } };
const at = '2026-05-01T12:00:00.000Z';
const on: LampEvent = { type: 'SwitchedOn', data: { at } };

describe('a decision as a sentence', () => {
  const command = { lampId: 'a' };

  it('holds if the decision says so', () => {
    given(lampStream).when(switchOn, command, off).then(on);
    given(lampStream).when(switchOn, new SwitchOn(command), off).then(on);
    given(lampStream, on).when(switchOn, command, off).thenNothing();
    given(lampStream).when(switchOn, command, off).thenAnswer({ watts: 40 });
    const lit = { reads: { other: { isOn: true } } };
    given(lampStream).when(switchOn, command, lit).thenRefused('lamp.no-power');
    const later = '2026-05-01T13:00:00.000Z';
    given(lampStream)
      .when(switchOn, command, { ...off, at: later })
      .then({ type: 'SwitchedOn', data: { at: later } });
  });

  it('fails if it says something else', () => {
    const switched = given(lampStream).when(switchOn, command, off);
    expect(() => switched.then()).toThrow(/strictly deep-equal/);
    expect(() => switched.thenNothing()).toThrow(/strictly deep-equal/);
    expect(() => switched.thenAnswer({ watts: 60 })).toThrow(/strictly deep-equal/);
    expect(() => switched.thenRefused('lamp.no-power')).toThrow('It was not refused with lamp.no-power.');
  });

  it('takes no command of other fields', () => {
    // @ts-expect-error -- a lamp is named by its lampId
    given(lampStream).when(switchOn, { lamp: 'a' }, off).then(on);
  });
});
