import type pg from 'pg';
import { isAborted, pause } from './background.js';
import { endClient } from './session.js';

export interface LeadingWork {
  /** The name of the work: of the processes that try, the one whose session holds the lock of this name does it. */
  readonly lock: string;
  /** Opens the session that holds the lock. */
  readonly connect: () => Promise<pg.Client>;
  /** Runs again and again as long as the session lives. */
  readonly round: (client: pg.Client) => Promise<void>;
  /** Between two rounds. */
  readonly roundIntervalMs: number;
  /** Until a process that does not lead, or whose session was lost, tries again. */
  readonly standbyIntervalMs: number;
  readonly onLead?: () => void;
  readonly onStandby?: () => void;
  /** Told of what a session or a round failed with, unless it was told to stop. */
  readonly onInterrupted: (error: unknown) => void;
}

/**
 * Background work that one process at a time does. It ends when the signal is aborted: the session is then cut, so that
 * a silent database does not delay a stop.
 */
export async function roundsWhileLeading(work: LeadingWork, signal: AbortSignal): Promise<void> {
  while (!isAborted(signal)) {
    let client: pg.Client | undefined;
    const cut = () => client && void endClient(client);
    signal.addEventListener('abort', cut);
    try {
      client = await work.connect();
      if (await tryToLead(client, work.lock)) {
        work.onLead?.();
        while (!isAborted(signal)) {
          await work.round(client);
          await pause(work.roundIntervalMs, signal);
        }
      } else {
        work.onStandby?.();
        await pause(work.standbyIntervalMs, signal);
      }
    } catch (error) {
      if (!isAborted(signal)) work.onInterrupted(error);
      await pause(work.standbyIntervalMs, signal);
    } finally {
      signal.removeEventListener('abort', cut);
      if (client) await endClient(client);
    }
  }
}

async function tryToLead(client: pg.Client, lock: string): Promise<boolean> {
  const { rows } = await client.query<{ leads: boolean }>(
    `select pg_try_advisory_lock(hashtextextended($1, 0)) as leads`,
    [lock],
  );
  return rows[0]?.leads ?? false;
}
