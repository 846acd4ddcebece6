/** The log, for injection: an EventStore. */
export const EVENT_STORE = Symbol.for('waylog.EVENT_STORE');

/** The roles that this process works as, for injection: a DatabaseAccess. */
export const DATABASE_ACCESS = Symbol.for('waylog.DATABASE_ACCESS');

/**
 * Connections of the application role for the log and for the first query of each command, for injection. Queries of
 * tables use `QUERY_POOL` and never take these: when all of those wait for a lock, commands continue.
 */
export const LOG_POOL = Symbol.for('waylog.LOG_POOL');

/** Read-only connections for queries of tables, for injection: a pg.Pool. */
export const QUERY_POOL = Symbol.for('waylog.QUERY_POOL');

/** Connections as the role that keeps the tables, for injection: for projectors and for operators' tasks. */
export const TABLES_POOL = Symbol.for('waylog.TABLES_POOL');

/** What the application has said, for injection: WaylogOptions. */
export const WAYLOG_OPTIONS = Symbol.for('waylog.OPTIONS');
