import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { now } from './history.js';

/** How far log and tables had come at a moment. */
export interface Sample {
  readonly at: number;
  readonly head: bigint;
  readonly tables: bigint;
}

const EVERY_MS = 25;

// The minute rollup follows at its own pace, a second behind by design.
const sampleSql = `
  select coalesce((select max(e.position) from log.events e), 0) as head,
         coalesce((select min(c.position::bigint) from projection.checkpoints c where c.projection <> 'frame_minutes'), 0) as tables`;

/**
 * Samples the database repeatedly, past the proxy, until the signal is aborted. While it is down there is nothing to
 * sample.
 */
export async function sampleProgress(url: string, signal: AbortSignal): Promise<Sample[]> {
  const samples: Sample[] = [];
  let client: pg.Client | undefined;
  const isOver = (): boolean => signal.aborted;
  while (!isOver()) {
    try {
      if (!client) {
        client = new pg.Client({ connectionString: url, application_name: 'fault suite sampler' });
        client.on('error', () => (client = undefined));
        await client.connect();
      }
      const at = now();
      const { rows } = await client.query<{ head: string; tables: string }>(sampleSql);
      if (rows[0]) samples.push({ at, head: BigInt(rows[0].head), tables: BigInt(rows[0].tables) });
    } catch {
      // A failed sample is left out; the next one connects again.
      await client?.end().catch(() => undefined);
      client = undefined;
    }
    await sleep(EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
  await client?.end().catch(() => undefined);
  return samples;
}
