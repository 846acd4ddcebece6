export type DatabaseErrorCode =
  /** None of the three ways to a database works on this machine. */
  | 'database.no-way'
  /** The server does not have TimescaleDB, or not a supported version. */
  | 'database.unsuitable'
  /** The server refused the connection or did not answer. */
  | 'database.unreachable'
  /** The instance cannot be used: it belongs to another user, cannot be stopped by this one, or has an invalid name. */
  | 'database.instance'
  /** Downloading or unpacking PostgreSQL failed. */
  | 'database.install'
  /** The server was asked to start or to stop and did not. */
  | 'database.start'
  | 'database.stop'
  /** None of the available PostgreSQL programs fits the server. */
  | 'database.tool'
  /** Another process holds the lock for too long. */
  | 'database.locked';

/** A sentence that says what happened, why, and what to do about it; `code` is stable. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';

  constructor(
    readonly code: DatabaseErrorCode,
    message: { what: string; why: string; todo: string },
    options?: ErrorOptions,
  ) {
    super(`${message.what}\n  why: ${message.why}\n  to do: ${message.todo}`, options);
  }
}

/** The text of anything that was thrown. */
export const reasonOf = (error: unknown): string =>
  textIn(error, 'message') || (codeOf(error) ?? String(error));

/** The `code` of a Node or PostgreSQL error (`ENOENT`, `3D000`), if it has one. */
export const codeOf = (error: unknown): string | undefined => textIn(error, 'code');

/** By shape, not by class: in a test runner, Node's own errors are not `instanceof` the test's `Error`. */
function textIn(error: unknown, property: string): string | undefined {
  const value: unknown =
    typeof error === 'object' && error !== null ? Reflect.get(error, property) : undefined;
  return typeof value === 'string' ? value : undefined;
}
