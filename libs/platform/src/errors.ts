/** What a caller can do about an error. The HTTP status follows from it. */
export type ErrorKind =
  | 'invalid'
  | 'too-large'
  | 'unsupported'
  | 'not-found'
  | 'conflict'
  | 'unauthenticated'
  | 'forbidden'
  | 'too-many'
  | 'unavailable';

/** One bad field of an input: a dotted path such as `waypoint.lat` or `[3].frameId`, and what is wrong with it. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

/**
 * The one error class of Waylog. `code` is stable and meant for programs (`waypoint.not-found`). The message is for
 * people: what happened, why, and what to do. `data` carries the facts of the case.
 */
export class WaylogError extends Error {
  override readonly name = 'WaylogError';

  constructor(
    readonly code: string,
    readonly kind: ErrorKind,
    message: string,
    readonly data: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export const notFound = (code: string, message: string, data?: Record<string, unknown>) =>
  new WaylogError(code, 'not-found', message, data);

export const conflict = (code: string, message: string, data?: Record<string, unknown>) =>
  new WaylogError(code, 'conflict', message, data);

/** The caller did not identify itself, or the identification is wrong. */
export const unauthenticated = (code: string, message: string) =>
  new WaylogError(code, 'unauthenticated', message);

/** The caller is known, but is not allowed to do this. */
export const forbidden = (code: string, message: string, data?: Record<string, unknown>) =>
  new WaylogError(code, 'forbidden', message, data);

/** The caller sent more requests than allowed. */
export const tooMany = (code: string, message: string, retryAfterSeconds: number) =>
  new WaylogError(code, 'too-many', message, { retryAfterSeconds });

/** The most bad fields that one refusal names: an input with more has one mistake many times. */
export const MAX_BAD_FIELDS = 50;

/** Field names and messages can contain what was sent: a refusal must not be as long as its input. */
const MAX_FIELD_LENGTH = 300;
const MAX_MESSAGE_LENGTH = 1_000;

/**
 * Nothing of the input was used. `errors` names every field that is wrong, not just the first. Of more than
 * `MAX_BAD_FIELDS` it names the first ones, and `hasMoreErrors` says that there are more.
 */
export function invalidInput(
  errors: readonly FieldError[],
  code = 'input.invalid',
  hasMore = errors.length > MAX_BAD_FIELDS,
): WaylogError {
  const named = errors.slice(0, MAX_BAD_FIELDS).map(({ field, message }) => ({
    field: shortened(field, MAX_FIELD_LENGTH),
    message: shortened(message, MAX_MESSAGE_LENGTH),
  }));
  const howMany = hasMore ? `more than ${MAX_BAD_FIELDS} bad fields` : `${named.length} bad fields`;
  return new WaylogError(
    code,
    'invalid',
    `The input has ${named.length === 1 ? 'one bad field' : howMany}: ` +
      named.map(({ field, message }) => `${field || '(body)'} ${message}`).join('; ') +
      (hasMore ? '; and more' : ''),
    { errors: named, ...(hasMore && { hasMoreErrors: true }) },
  );
}

/** A text cut to a number of characters, with dots if it was longer. */
export const shortened = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length).replace(/[\ud800-\udbff]$/, '')}...`;

/** The system cannot answer now. `retryAfterSeconds` is a hint for Retry-After. */
export const unavailable = (
  code: string,
  message: string,
  data: Record<string, unknown> & { retryAfterSeconds?: number } = {},
  cause?: unknown,
) => new WaylogError(code, 'unavailable', message, { retryAfterSeconds: 1, ...data }, { cause });

/** The message of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The largest answer as JSON, in bytes. */
export const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** The error for an answer that would be longer than that. */
export const answerTooLarge = () =>
  invalidInput(
    [
      {
        field: 'limit',
        message: `asks for an answer of more than ${MAX_ANSWER_BYTES / 1024 / 1024} MiB; ask for fewer at a time`,
      },
    ],
    'answer.too-large',
  );
