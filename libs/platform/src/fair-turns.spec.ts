import { FairTurns, type FairTurnsOptions, type Turn } from './fair-turns.js';

describe('fair turns', () => {
  function works(options: FairTurnsOptions) {
    const turns = new FairTurns(options);
    const begun: string[] = [];
    const asked = new Map<string, Turn>();
    return {
      turns,
      begun,
      /** Asks for works named by their keys and numbers, such as a1. */
      ask: (...names: string[]) => {
        for (const name of names)
          asked.set(
            name,
            turns.ask(name.charAt(0), () => begun.push(name)),
          );
      },
      askHeavy: (name: string) =>
        asked.set(
          name,
          turns.ask(name.charAt(0), () => begun.push(name), 2),
        ),
      end: (...names: string[]) => {
        for (const name of names) asked.get(name)?.end();
      },
    };
  }

  it('are limited for one key, and those of others begin', () => {
    const { turns, begun, ask, end } = works({ ofKey: 2, ofAll: 10 });
    ask('a1', 'a2', 'a3', 'a4', 'b1');
    expect(begun).toEqual(['a1', 'a2', 'b1']);
    expect([turns.waiting('a'), turns.waiting('b'), turns.waiting('c')]).toEqual([2, 0, 0]);
    end('a2');
    expect(begun.slice(3)).toEqual(['a3']);
  });

  it('go to the key that has least at work, however long others wait', () => {
    const { begun, ask, end } = works({ ofKey: 2, ofAll: 4 });
    ask('a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'b3', 'c1');
    expect(begun).toEqual(['a1', 'a2', 'b1', 'b2']);
    end('a1');
    end('b1', 'b2');
    expect(begun.slice(4)).toEqual(['c1', 'a3', 'b3']);
  });

  it('go round among keys that have nothing at work', () => {
    const { begun, ask, end } = works({ ofKey: 1, ofAll: 1 });
    ask('a1', 'a2', 'a3', 'b1', 'b2');
    for (const name of ['a1', 'b1', 'a2', 'b2']) end(name);
    expect(begun).toEqual(['a1', 'b1', 'a2', 'b2', 'a3']);
  });

  it('come last for a key that was put there', () => {
    const { turns, begun, ask, end } = works({ ofKey: 1, ofAll: 1 });
    ask('b1');
    turns.putLast('a', 3_600_000);
    ask('a1', 'c1', 'b2');
    end('b1');
    end('c1');
    end('b2');
    expect(begun).toEqual(['b1', 'c1', 'b2', 'a1']);
  });

  it('count what is heavy as much, and it is not overtaken for ever', () => {
    const { begun, ask, askHeavy, end } = works({ ofKey: 2, ofAll: 3 });
    ask('a1', 'b1');
    askHeavy('a2');
    askHeavy('c1');
    ask('d1');
    expect(begun).toEqual(['a1', 'b1']);
    end('b1');
    expect(begun.slice(2)).toEqual(['c1']);
    end('a1');
    expect(begun.slice(3)).toEqual(['d1']);
    end('c1');
    expect(begun.slice(4)).toEqual(['a2']);
  });

  it('are never given to a work that was ended while it waited', () => {
    const { begun, ask, end } = works({ ofKey: 1, ofAll: 1 });
    ask('a1', 'a2', 'a3');
    end('a2', 'a2');
    end('a1');
    expect(begun).toEqual(['a1', 'a3']);
  });

  it('go on after a work that failed, and after one that was given up', async () => {
    const turns = new FairTurns({ ofKey: 1, ofAll: 1 });
    let fail: (error: Error) => void = () => undefined;
    const failed = turns.run('a', () => new Promise((_resolve, reject) => (fail = reject)));
    const leaving = new AbortController();
    const left = turns.run('a', () => Promise.resolve('never'), leaving.signal);
    const next = turns.run('a', () => Promise.resolve('yes'));
    leaving.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    await new Promise(setImmediate);
    fail(new Error('no'));
    await expect(failed).rejects.toThrow('no');
    expect(await next).toBe('yes');
  });
});
