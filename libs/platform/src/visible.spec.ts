import { UNSEEN, visible } from './visible.js';

describe('a text for a terminal', () => {
  it('has invisible characters, and those that change its direction, as escapes', () => {
    expect(visible('a\u001b[31mb\u009b2Jc\u007f')).toBe('a\\u001b[31mb\\u009b2Jc\\u007f');
    expect(visible('ok\u202egpj \u200b\u2066 \u{e0041} \ud800')).toBe(
      'ok\\u202egpj \\u200b\\u2066 \\udb40\\udc41 \\ud800',
    );
  });

  it('keeps lines, tabs and visible characters', () => {
    const text = 'Fjörd\t飛行 שלום 🚁\nnext';
    expect(visible(text)).toBe(text);
  });

  it('is the same JSON', () => {
    const value = { 'a\u009b': 'b\u202e\u007f\u{e0041}\n"\\' };
    const text = visible(JSON.stringify(value));
    expect(text).toMatch(/^[ -~]+$/);
    expect(JSON.parse(text)).toEqual(value);
  });

  it('covers everything that Unicode ignores by default, or that changes the direction', () => {
    const unseen = new RegExp(`^[${UNSEEN}]$`, 'u');
    const missed: string[] = [];
    for (let code = 0; code <= 0x10ffff; code++) {
      const character = String.fromCodePoint(code);
      if (/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Default_Ignorable_Code_Point}]/u.test(character))
        if (!unseen.test(character)) missed.push(code.toString(16));
    }
    expect(missed).toEqual([]);
  });
});
