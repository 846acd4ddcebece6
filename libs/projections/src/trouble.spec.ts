import { Trouble } from './trouble.js';

describe('the log of a failure that is retried', () => {
  const lines: string[] = [];
  let at = 0;
  const log = { info: (text: string) => lines.push(text), warn: (text: string) => lines.push(text) };
  const open = () => new Trouble('It', log, () => at);
  beforeEach(() => {
    lines.length = 0;
    at = 0;
  });

  it('has a line when the failure begins, one a minute with a count, and one when it ends', () => {
    const trouble = open();
    for (; at < 180_000; at += 2_000) trouble.failed(new Error('nobody leads'));
    trouble.succeeded();
    trouble.succeeded();
    expect(lines).toEqual([
      'It failed, and is tried again until it goes on: nobody leads',
      'It failed 31 times in a row: nobody leads',
      'It failed 61 times in a row: nobody leads',
      'It goes on, after 90 failed attempts',
    ]);
    trouble.failed(new Error('again'));
    expect(lines.at(-1)).toBe('It failed, and is tried again until it goes on: again');
    trouble.end();
  });

  it('says that it works again also if there is nothing to do, but only after a while', () => {
    jest.useFakeTimers();
    try {
      const trouble = open();
      trouble.began();
      jest.runAllTimers();
      expect(lines).toEqual([]);
      trouble.failed(new Error('no'));
      trouble.began();
      trouble.failed(new Error('no'));
      jest.runAllTimers();
      expect(lines).toHaveLength(1);
      trouble.began();
      jest.runAllTimers();
      expect(lines.at(-1)).toBe('It goes on, after 2 failed attempts');
    } finally {
      jest.useRealTimers();
    }
  });
});
