import { Category, deciderOf } from '#lib/event-store';
import { IsId, Label } from '#lib/platform';
import { slicesOn, StreamCommand } from './command.js';
import type { StreamType } from './stream-type.js';

const stream: StreamType<object, never> = {
  category: new Category('thing'),
  key: 'thingId',
  decider: deciderOf<object, never>({ version: 1, initialState: () => ({}), evolve: (state) => state }),
  eventTypes: new Set(),
};
const slice = slicesOn(stream);

describe('a command that is declared', () => {
  it('keeps what it is made of', () => {
    class Make extends StreamCommand {
      @IsId() readonly thingId!: string;
      @Label(10) readonly name!: string;
    }
    expect(slice(Make, () => []).command).toBe(Make);
    expect(new Make({ thingId: 'a', name: 'b' })).toMatchObject({ thingId: 'a', name: 'b' });
  });

  it('can be made of something else', () => {
    class Make extends StreamCommand {
      @IsId() readonly thingId!: string;
      @Label(10) readonly name!: string;

      constructor(thingId: string, name: string) {
        super({ thingId, name });
      }
    }
    expect(slice(Make as never, () => []).command).toBe(Make);
  });

  it('is refused if its fields are defined anew after that', () => {
    class Make extends StreamCommand {
      @IsId() readonly thingId!: string;
      @Label(10) readonly name!: string;

      // As a compiler does with "useDefineForClassFields".
      constructor(fields: object) {
        super(fields);
        for (const name of ['thingId', 'name'])
          Object.defineProperty(this, name, { value: undefined, writable: true, configurable: true });
      }
    }
    expect(() => slice(Make, () => [])).toThrow(/"useDefineForClassFields": false/);
  });
});
