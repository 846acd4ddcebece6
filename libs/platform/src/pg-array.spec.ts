import { pgArray } from './pg-array.js';

describe('pgArray', () => {
  it('quotes only what needs it', () => {
    expect(pgArray([1, -2.5, 'plain', true, null])).toBe('{1,-2.5,plain,true,NULL}');
    expect(pgArray(['', 'null', 'NULL', 'a b', 'a,b', '{}', 'say "hi"', 'back\\slash', "it's"])).toBe(
      `{"","null","NULL","a b","a,b","{}","say \\"hi\\"","back\\\\slash",it's}`,
    );
    expect(pgArray([])).toBe('{}');
  });
});
