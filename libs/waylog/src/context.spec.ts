import { Projection } from '#lib/projections';
import { Category, type Decider, type DomainEvent } from '#lib/event-store';
import { commandsOf } from './by-name.js';
import { StreamCommand } from './command.js';
import { context, vocabularyOf } from './context.js';
import type { StreamType } from './stream-type.js';

const decider: Decider<object, DomainEvent> = {
  version: 1,
  initialState: () => ({}),
  evolve: (state) => state,
  fork: (state) => state,
  sizeOf: () => 1,
};
const streamOf = (name: string): StreamType<object, DomainEvent> => ({
  category: new Category(name),
  key: `${name}Id`,
  decider,
  eventTypes: new Set(),
});
class Add extends StreamCommand {}
const part = (name: string) => {
  const stream = streamOf(name);
  return { streams: [stream], commands: [{ stream, command: Add, decide: () => [] }] };
};

describe('a context', () => {
  it.each(['Camera', 'my camera', '1st', 'log', 'public', 'pg_camera', 'rebuild_camera', '', 'a'.repeat(51)])(
    'cannot be called %j',
    (name) => {
      expect(() => context(name, { streams: [] })).toThrow(/cannot be the name of a context/);
    },
  );

  it('has what its folders have, in their order, and then its own', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name) => ({ provide: name, useValue: 1 })) as [
      object,
      object,
      object,
    ];
    const { providers } = context('camera', {
      streams: [],
      parts: [{ providers: [a as never] }, {}, { providers: [b as never] }],
      providers: [c as never],
    });
    expect(providers).toEqual([a, b, c]);
  });

  it('has tables of its own schema alone, each once, with the columns of their keys', () => {
    const table = (changes: object) =>
      new Projection('things', 1, {
        source: 'here',
        schema: 'camera',
        name: 'things',
        columns: { id: 'text' },
        key: ['id'],
        ...changes,
      });
    const declaring =
      (...projections: ReturnType<typeof table>[]) =>
      () =>
        context('camera', { streams: [], projections });
    expect(declaring(table({}))).not.toThrow();
    expect(declaring(table({ schema: 'flight' }))).toThrow(/in the schema of something else/);
    expect(declaring(table({}), table({}))).toThrow(/declared twice/);
    expect(declaring(table({ key: ['name'] }))).toThrow(/no column name/);
    expect(() =>
      vocabularyOf([context('camera', { streams: [] }), context('camera', { streams: [] })]),
    ).toThrow(/Two contexts are called camera/);
  });

  it('says which event records an erasure', () => {
    const { streams, commands } = part('thing');
    expect(() => context('camera', { streams, erasures: commands })).toThrow(/erasedBy/);
  });

  it('shares no category, and no name of a command, with another one', () => {
    const [one, other] = [context('one', part('thing')), context('other', part('thing'))];
    expect(() => vocabularyOf([one, other])).toThrow(/streams of the category thing/);
    expect(() => commandsOf([one, context('third', part('item'))])).toThrow(/are called Add/);
    expect([...commandsOf([one]).keys()]).toEqual(['Add']);
  });
});
