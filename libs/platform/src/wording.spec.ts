import { asTyped, counted, duration } from './wording.js';

describe('wording', () => {
  it('counts one and many', () => {
    expect([0, 1, 2, 1n].map((n) => counted(n, 'event'))).toEqual([
      '0 events',
      '1 event',
      '2 events',
      '1 event',
    ]);
    expect(counted(2, 'index', 'indexes')).toBe('2 indexes');
  });

  it.each([
    [0.4, '0s'],
    [59.6, '1m 0s'],
    [119.7, '2m 0s'],
    [125, '2m 5s'],
    [3_599.7, '1h 0m'],
    [4_799, '1h 20m'],
    [7_170, '2h 0m'],
  ])('says %d seconds as %s', (seconds, said) => {
    expect(duration(seconds)).toBe(said);
  });

  it('names commands as they are typed', () => {
    const text =
      'Run `waylog migrate` (or waylog doctor); see docs/waylog and Waylog runs, node-waylog x, ./waylog db up';
    expect(asTyped(text)).toBe(text);
    process.env['WAYLOG_TYPED'] = './waylog';
    try {
      expect(asTyped(text)).toBe(
        'Run `./waylog migrate` (or ./waylog doctor); see docs/waylog and Waylog runs, node-waylog x, ./waylog db up',
      );
    } finally {
      delete process.env['WAYLOG_TYPED'];
    }
  });
});
