import 'reflect-metadata';
import { once } from 'node:events';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { pgArray } from '#lib/platform';
import { rate } from './measure.js';
import { frame } from './samples.js';

/** One writing process of `ordering.ts`: appends batches with one strategy's function until the time is over. */
const [url, strategy, first, streams, callers] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];

const pool = new pg.Pool({ connectionString: url, max: Number(callers) });
const text = `select ordering.${strategy}($1, $2, $3, $4)`;
const revisions = new Map<number, number>();

/** One event in each of this caller's streams. */
function append(caller: number): Promise<unknown> {
  const keys: number[] = [];
  const revisionsOfKeys: number[] = [];
  const ids: string[] = [];
  const data: string[] = [];
  for (let i = 0; i < Number(streams); i++) {
    const key = Number(first) + caller * Number(streams) + i;
    const revision = revisions.get(key) ?? 0;
    revisions.set(key, revision + 1);
    keys.push(key);
    revisionsOfKeys.push(revision);
    ids.push(randomUUID());
    data.push(JSON.stringify(frame(revision)));
  }
  return pool.query({
    name: strategy,
    text,
    values: [pgArray(keys), pgArray(revisionsOfKeys), pgArray(ids), data.join('\n')],
  });
}

// All connections are open before the clock starts.
await Promise.all(Array.from({ length: Number(callers) }, (_, caller) => append(caller)));
process.send?.('ready');
const [seconds] = (await once(process, 'message')) as [number];
const perSecond = await rate(Number(callers), seconds, append);
await pool.end();
process.send?.(perSecond * Number(streams));
process.disconnect();
