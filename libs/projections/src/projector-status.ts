import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, Pool } from 'pg';
import { backendOf, type Timestamp } from '#lib/platform';
import type { Position } from '#lib/event-store';
import type { Trouble } from './trouble.js';

/**
 * `standby`: another process leads. `catching-up`: leads, and its last batch was full. `paused`: leads, and waits to be
 * resumed. `failed`: stopped by an error, and tries again in a moment.
 */
export type ProjectorState = 'stopped' | 'standby' | 'catching-up' | 'active' | 'paused' | 'failed';

export interface ProjectorStatus {
  readonly state: ProjectorState;
  readonly position: Position | undefined;
  readonly eventsFolded: number;
  readonly lastError: { readonly message: string; readonly at: Timestamp } | undefined;
}

const reportSql = `
  with unhurried as (select set_config('synchronous_commit', 'off', true))
  insert into projection.projectors
    (name, leader, state, events_folded, events_per_second, last_error, last_error_at, reported_at)
  select $1, $2, $3, $4, $5, $6, $7::timestamptz, clock_timestamp() from unhurried
   where exists (select from pg_stat_activity where pid = $8)
  on conflict (name) do update
     set leader = excluded.leader, state = excluded.state, events_folded = excluded.events_folded,
         events_per_second = excluded.events_per_second, last_error = excluded.last_error,
         last_error_at = excluded.last_error_at, reported_at = excluded.reported_at`;

/**
 * The process that leads reports its state. It counts the events folded by this process since it began. A process whose
 * session has ended no longer leads, whether it knows that yet or not (it was frozen), and reports nothing.
 */
export async function reportProjector(
  pool: Pool,
  name: string,
  leader: Client,
  status: ProjectorStatus & { readonly eventsPerSecond: number },
): Promise<void> {
  const { state, eventsFolded, eventsPerSecond, lastError } = status;
  await pool.query({
    name: 'projection.report',
    text: reportSql,
    values: [
      name,
      `${hostname()} process ${process.pid}`,
      state,
      eventsFolded,
      eventsPerSecond,
      lastError?.message ?? null,
      lastError?.at ?? null,
      backendOf(leader),
    ],
  });
}

const REPORT_INTERVAL_MS = 2_000;

/** The time over which events per second are averaged: a batch can take longer than the time between two reports. */
const RATE_WINDOW_MS = 10_000;

/** How long the last report can take: a restart or a stop must not wait for a silent database. */
const LAST_REPORT_MS = 1_000;

/** Records the state of the process that leads, for other processes, until told to end. */
export function keepReporting(options: {
  readonly pool: Pool;
  readonly name: string;
  readonly leader: Client;
  readonly status: () => ProjectorStatus;
  readonly trouble: Trouble;
}): { readonly end: () => Promise<void> } {
  const { pool, name, leader, status, trouble } = options;
  const samples: { readonly at: number; readonly events: number }[] = [];
  const say = async () => {
    const now = { at: performance.now(), events: status().eventsFolded };
    samples.push(now);
    while ((samples[1]?.at ?? now.at) <= now.at - RATE_WINDOW_MS) samples.shift();
    const [first = now] = samples;
    const eventsPerSecond = (now.events - first.events) / Math.max((now.at - first.at) / 1_000, 0.001);
    await reportProjector(pool, name, leader, { ...status(), eventsPerSecond }).then(
      () => trouble.succeeded(),
      (error: unknown) => trouble.failed(error),
    );
  };
  let last = say();
  const timer = setInterval(() => {
    last = say();
  }, REPORT_INTERVAL_MS);
  return {
    end: async () => {
      clearInterval(timer);
      await Promise.race([last.then(say), sleep(LAST_REPORT_MS, undefined, { ref: false })]);
    },
  };
}
