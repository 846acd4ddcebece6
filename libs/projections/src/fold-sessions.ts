import pg from 'pg';
import { conflict, endClient, openSession } from '#lib/platform';
import type { ReadableLog, Position } from '#lib/event-store';
import { atCheckpoint, type ProjectorTables } from './at-checkpoint.js';
import { withRoomForLocks } from './lock-room.js';
import type { Projection } from './projection.js';
import type { ShadowFold } from './shadow-fold.js';

/** The sessions of a fold into shadow tables: one writes them, the other holds the projector at its checkpoint. */
export interface FoldSessions {
  readonly writer: pg.Client;
  readonly holder: pg.Client;
}

interface FoldSessionOptions {
  readonly projector: string;
  readonly connectionString: string;
  readonly projections: readonly Projection[];
  readonly signal?: AbortSignal | undefined;
}

/** Runs `work` with two sessions of its own, which are cut when the signal is aborted. */
export function withFoldSessions<T>(
  what: 'rebuild' | 'verify',
  options: FoldSessionOptions,
  work: (sessions: FoldSessions) => Promise<T>,
): Promise<T> {
  // Around everything: the sessions have ended, and released their locks, when the number of locks is checked.
  return withRoomForLocks(options.connectionString, () => inSessions(what, options, work));
}

async function inSessions<T>(
  what: 'rebuild' | 'verify',
  options: FoldSessionOptions,
  work: (sessions: FoldSessions) => Promise<T>,
): Promise<T> {
  const { connectionString, projector, projections, signal } = options;
  const clients: pg.Client[] = [];
  const connect = async () => {
    const client = await connectForFold(connectionString, `waylog ${what}`);
    clients.push(client);
    return client;
  };
  const onAbort = () => {
    for (const client of clients) endClient(client);
  };
  signal?.addEventListener('abort', onAbort);
  try {
    signal?.throwIfAborted();
    const sessions = { writer: await connect(), holder: await connect() };
    for (const client of clients) await becomeOwner(client, projections);
    await lockProjections(sessions.writer, projector, projections, what);
    return await work(sessions);
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await Promise.all(clients.map(endClient));
  }
}

/** The tables keep their owner, whoever starts the rebuild: the session creates the new ones as that owner. */
async function becomeOwner(client: pg.Client, projections: readonly Projection[]): Promise<void> {
  const { rows } = await client.query<{ owner: string }>(
    `select distinct pg_get_userbyid(relowner) as owner from pg_class
      where oid = any ($1::text[]::regclass[]) and relowner <> (select oid from pg_roles where rolname = current_user)`,
    [projections.map(({ table }) => `${table.schema}.${table.name}`)],
  );
  if (rows[0]) await client.query(`set role ${pg.escapeIdentifier(rows[0].owner)}`);
}

/** A session for folding: its writes matter only after the swap, whose commit waits for the disk. */
export const connectForFold = (connectionString: string, applicationName: string): Promise<pg.Client> =>
  openSession({ connectionString, applicationName, settings: { synchronous_commit: 'off' } });

/**
 * One rebuild, and one verification, of a projection at a time. The lock belongs to the session that writes the shadow
 * tables: a process that lost it can no longer write into a shadow table that another process creates.
 */
export async function lockProjections(
  client: pg.Client,
  projector: string,
  projections: readonly Projection[],
  what: 'rebuild' | 'verify',
): Promise<void> {
  for (const name of projections.map((projection) => projection.name).sort()) {
    const { rows } = await client.query<{ free: boolean }>(
      `select pg_try_advisory_lock(hashtextextended($1, 0)) as free`,
      [`waylog ${what} ${projector} ${name}`],
    );
    if (!rows[0]?.free) {
      throw conflict(
        `projection.${what}-running`,
        `Another process is ${what === 'rebuild' ? 'rebuilding' : 'verifying'} ${name} now. Wait for it, or cancel it.`,
        { projection: name },
      );
    }
  }
}

/**
 * Begins a transaction of the writer in which live and shadow tables are of one moment, and returns the position of
 * that moment. The projector waits only until the moment is fixed, not while the tables are read. Undefined if the fold
 * has to start again.
 */
export const beginComparison = (
  { writer, holder }: FoldSessions,
  store: ReadableLog,
  tables: ProjectorTables,
  fold: ShadowFold,
): Promise<Position | undefined> =>
  atCheckpoint(holder, store, tables, async (checkpoint) => {
    if (!(await fold.upTo(checkpoint))) return undefined;
    await writer.query('begin isolation level repeatable read read only');
    await writer.query('select 1');
    return checkpoint;
  });
