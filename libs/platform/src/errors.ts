/** What a caller can do about an error; the HTTP status follows from it. */
export type ErrorKind =
  'invalid' | 'not-found' | 'conflict' | 'unauthenticated' | 'forbidden' | 'too-many' | 'unavailable';

/** One bad field of an input: a dotted path such as `waypoint.lat` or `[3].frameId`, and what is wrong with it. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

/**
 * The one error class of Waylog. `code` is stable and meant for programs (`waypoint.not-found`), the message is for
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

/** Whoever calls has not said who he is, or what he said is not so. */
export const unauthenticated = (code: string, message: string) =>
  new WaylogError(code, 'unauthenticated', message);

/** It is known who calls, and he may not. */
export const forbidden = (code: string, message: string, data?: Record<string, unknown>) =>
  new WaylogError(code, 'forbidden', message, data);

/** More requests than one caller may send. */
export const tooMany = (code: string, message: string, retryAfterSeconds: number) =>
  new WaylogError(code, 'too-many', message, { retryAfterSeconds });

/** Nothing of the input was used; `errors` names every field that is wrong, not just the first. */
export const invalidInput = (errors: readonly FieldError[], code = 'input.invalid') =>
  new WaylogError(
    code,
    'invalid',
    `The input has ${errors.length === 1 ? 'one bad field' : `${errors.length} bad fields`}: ` +
      errors.map(({ field, message }) => `${field || '(body)'} ${message}`).join('; '),
    { errors },
  );

/** The system cannot answer now. `retryAfterSeconds` is a hint for Retry-After. */
export const unavailable = (
  code: string,
  message: string,
  data: Record<string, unknown> & { retryAfterSeconds?: number } = {},
  cause?: unknown,
) => new WaylogError(code, 'unavailable', message, { retryAfterSeconds: 1, ...data }, { cause });

/** The text of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
