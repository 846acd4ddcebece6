import { decodeState, encodeState } from './snapshot-codec.js';

describe('the text of a snapshot', () => {
  it('restores maps within maps, and every object that only looks like one', () => {
    const state = {
      frames: new Map([[1, { at: new Map([['a', [1, 2]]]) }]]),
      users: [
        { $map: [1] },
        { $map: [['focal', 1]], model: 'X' },
        { $object: [['a', 1]] },
        { $map: { $object: [] } },
      ],
      nothing: null,
    };
    expect(decodeState(encodeState(state))).toEqual(state);
  });
});
