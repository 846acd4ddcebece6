/**
 * As a class of a regular expression with the flag `u`: characters that are invisible, or change how others are shown.
 * These are control characters (C1 too: U+009B begins an escape sequence in some terminals), line separators,
 * characters that change the direction of text, and those that Unicode ignores by default
 * (Default_Ignorable_Code_Point), such as zero-width spaces. Those beyond U+FFFF are written literally: this works also
 * for patterns without escapes for them, as in the schemas for clients.
 */
export const UNSEEN =
  '\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f' +
  '\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb' +
  [0x1bca0, 0x1bca3, 0x1d173, 0x1d17a, 0xe0000, 0xe0fff]
    .map((code, i) => (i % 2 === 0 ? '' : '-') + String.fromCodePoint(code))
    .join('');

const IN_TEXT = new RegExp(`(?![\\t\\n])[${UNSEEN}\\ud800-\\udfff]`, 'gu');

const escaped = (character: string): string =>
  Array.from(
    { length: character.length },
    (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`,
  ).join('');

/**
 * A text with its invisible characters as escapes (`\u009b`), except tabs and line ends: for terminals and logs, which
 * could interpret them. JSON keeps its meaning.
 */
export const visible = (text: string): string => text.replaceAll(IN_TEXT, escaped);
