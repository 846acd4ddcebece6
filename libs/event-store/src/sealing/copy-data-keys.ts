import type { Pool } from 'pg';
import { readRows } from '#lib/platform';

const PAGE = 10_000;

/**
 * Copies the keys of streams to the database that their events go to, of all streams when none is named; what has a key there
 * keeps it. Then deletes there those of streams that hold an event of the type `erasedBy`, which an earlier copy may have
 * brought.
 */
export async function copyDataKeys(
  from: Pool,
  to: Pool,
  { streams, erasedBy }: { readonly streams?: readonly string[] | undefined; readonly erasedBy: string },
): Promise<void> {
  for (let after = ''; ;) {
    const rows = (await readRows(
      from,
      undefined,
      `select stream_id, encode(key, 'hex'), made_at from log.data_keys
        where stream_id > $1 and ($2::text[] is null or stream_id = any ($2)) order by stream_id limit ${PAGE}`,
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
  await to.query(
    `delete from log.data_keys k
      where exists (select from log.events e join log.streams s using (stream_key)
                     where s.stream_id = k.stream_id and e.type = $1)`,
    [erasedBy],
  );
}
