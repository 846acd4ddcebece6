import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { conflict, endClient, openSession, pause } from '#lib/platform';

/**
 * The database ends the session of a leader that has been silent for this long: its process is frozen (SIGSTOP, a
 * paused machine), or the network connection is dead. What it had not committed is rolled back, and another process
 * leads.
 */
const SILENCE_MS = 30_000;

/** Below every statement timeout, so that it is clear which limit was hit. */
const LOCK_TIMEOUT_MS = 20_000;

/** How often an idle leader sends something. */
const heartbeatMs = (silenceMs: number): number => silenceMs / 6;

/** It waits for work in progress, which can take hours, and delays nothing. */
const heartbeat = { text: 'select 1', query_timeout: 24 * 3_600_000 } as pg.QueryConfig;

export interface LeadOptions {
  /** Of the projector that one process at a time leads. */
  readonly name: string;
  /** Shown in pg_stat_activity. */
  readonly applicationName: string;
  readonly connectionString: string;
  /** How often a process that does not lead tries to. */
  readonly standbyIntervalMs: number;
  /** The longest that a statement can take in the database; no limit by default. */
  readonly statementTimeoutMs?: number;
  /** Default 30 s. */
  readonly silenceMs?: number;
  readonly onStandby: () => void;
  readonly signal: AbortSignal;
}

/**
 * Waits for the lead of a projector, and works as long as it has it. The lead is an advisory lock on the very session
 * that `work` writes with: a process that loses one loses the other. `work` ends when its signal is aborted, which also
 * happens when the session is lost. Throws what `work` throws, and an error for a lost connection; resolves when told
 * to stop.
 */
export async function lead(
  options: LeadOptions,
  work: (client: pg.Client, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const { name, signal, standbyIntervalMs, onStandby, silenceMs = SILENCE_MS } = options;
  const client = await openSession({
    connectionString: options.connectionString,
    applicationName: options.applicationName,
    settings: {
      idle_session_timeout: String(silenceMs),
      idle_in_transaction_session_timeout: String(silenceMs),
      statement_timeout: String(options.statementTimeoutMs ?? 0),
      // Waiting for others must not count as a statement that is too much.
      lock_timeout: String(LOCK_TIMEOUT_MS),
    },
    queryTimeoutMs: 35_000,
  });
  const broken = new AbortController();
  client.on('error', () => broken.abort());
  client.on('end', () => broken.abort());
  const going = AbortSignal.any([signal, broken.signal]);
  const beating = beat(client, heartbeatMs(silenceMs));
  try {
    // Polls instead of waiting in the database: a waiting statement would hold back vacuum there.
    while (!going.aborted && !(await tryToLead(client, name))) {
      onStandby();
      await pause(standbyIntervalMs * (0.75 + Math.random() / 2), going);
    }
    if (!going.aborted) await work(client, going);
    if (!signal.aborted) throw connectionLost();
  } finally {
    clearInterval(beating);
    await endClient(client);
  }
}

export const connectionLost = (): Error => new Error('The connection to the database was lost.');

/**
 * One at a time: they would pile up behind a long statement. A session that does not accept one is lost, and reports
 * that itself.
 */
function beat(client: pg.Client, everyMs: number): NodeJS.Timeout {
  let isUnderWay = false;
  return setInterval(() => {
    if (isUnderWay) return;
    isUnderWay = true;
    client
      .query(heartbeat)
      .catch(() => undefined)
      .finally(() => (isUnderWay = false));
  }, everyMs);
}

/**
 * Leads a projector for a while, so that no process moves its tables while an operator works on them. Throws
 * `projection.led` if another process keeps the lead.
 */
export async function whileLeading<T>(
  connectionString: string,
  projector: string,
  work: () => Promise<T>,
  // A leader that fails gives up the lead between two attempts, which are seconds apart.
  patienceMs = 15_000,
): Promise<T> {
  const client = await openSession({ connectionString, applicationName: `waylog lead ${projector}` });
  try {
    for (const end = performance.now() + patienceMs; ;) {
      if (await tryToLead(client, projector)) return await work();
      if (performance.now() > end) throw ledByAnother(projector);
      await sleep(LEAD_POLL_MS);
    }
  } finally {
    await endClient(client);
  }
}

const LEAD_POLL_MS = 100;

const ledByAnother = (projector: string) =>
  conflict(
    'projection.led',
    `A server leads the projector ${projector} and writes its tables (\`waylog projections\` says which). Stop all servers ` +
      `on this database, or set their EVENT_STORE as it is here, and try again. Nothing has changed.`,
  );

async function tryToLead(client: pg.Client, name: string): Promise<boolean> {
  const { rows } = await client.query<{ leads: boolean }>(`select pg_try_advisory_lock($1) as leads`, [
    leaderLock(name),
  ]);
  return rows[0]?.leads ?? false;
}

/** The advisory lock of a name: 64 bits of its hash, as the text of a signed number. */
export const leaderLock = (name: string): string =>
  createHash('sha256').update(`waylog projector ${name}`).digest().readBigInt64BE().toString();
