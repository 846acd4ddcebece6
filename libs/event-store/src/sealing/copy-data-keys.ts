import type { Pool } from 'pg';
import { readRows } from '#lib/platform';
import { withNotedErasures } from './erasing-types.js';
import { erasingTypes, type Vocabulary } from '../vocabulary.js';

const PAGE = 10_000;

/**
 * Copies the keys of streams to the database that their events go to, of all streams when none is named; what has a key there
 * keeps it, and what was erased there gets none. Before the events: without its key an event reads as damage.
 */
export async function copyDataKeys(from: Pool, to: Pool, streams?: readonly string[]): Promise<void> {
  for (let after = ''; ;) {
    const rows = (await readRows(
      from,
      undefined,
      `select stream_id, encode(key, 'hex'), made_at from log.data_keys
        where key is not null and stream_id > $1 and ($2::text[] is null or stream_id = any ($2)) order by stream_id limit ${PAGE}`,
      [after, streams ?? null],
    )) as [string, string, string][];
    await to.query(
      `insert into log.data_keys (stream_id, key, made_at)
       select stream_id, decode(key, 'hex'), made_at from unnest($1::text[], $2::text[], $3::timestamptz[]) as k (stream_id, key, made_at)
           on conflict do nothing`,
      [rows.map(([streamId]) => streamId), rows.map(([, key]) => key), rows.map(([, , madeAt]) => madeAt)],
    );
    const last = rows.at(-1);
    if (!last || rows.length < PAGE) break;
    after = last[0];
  }
}

/** Deletes the keys of streams that were erased, which an earlier copy may have brought, for good: after the events. */
export async function forgetErasedKeys(pool: Pool, vocabulary: Vocabulary): Promise<void> {
  await pool.query(
    `insert into log.data_keys (stream_id, key)
     select distinct s.stream_id, null::bytea
       from log.events e join log.streams s using (stream_key)
       join unnest($1::text[], $2::text[]) as erasing (category, type)
         on erasing.type = e.type and starts_with(s.stream_id, erasing.category || '-')
         on conflict (stream_id) do update set key = null where data_keys.key is not null`,
    [...erasingTypes(await withNotedErasures(pool, vocabulary))],
  );
}
