import { sortedJson } from './sorted-json.js';

describe('sorted JSON', () => {
  it('is the same for the same content, in whatever order it was written', () => {
    const written = [
      { b: [1, { z: null, a: 'ä' }], a: { '10': 1, '9': 2 } },
      { a: { '9': 2, '10': 1 }, b: [1, { a: 'ä', z: null }] },
    ].map(sortedJson);
    expect(written[0]).toBe('{"a":{"9":2,"10":1},"b":[1,{"a":"ä","z":null}]}');
    expect(written[1]).toBe(written[0]);
  });

  it('keeps the order of lists, and leaves out what is undefined', () => {
    expect(sortedJson([2, 1])).toBe('[2,1]');
    expect(sortedJson({ a: undefined })).toBe('{}');
  });
});
