import { join } from 'node:path';
import type { Client, Pool } from 'pg';
import { conflict } from '#lib/platform';
import { recordDropped } from '../hypertables/dropped-ranges.js';
import { chunksOf } from '../hypertables/hypertable-info.js';
import type { TableModel } from '../hypertables/models.js';
import { inBriefTransaction, withSession } from '../hypertables/session.js';
import { sha256Of, writeManifest, writeRows, type Manifest } from './chunk-file.js';
import {
  fingerprint,
  fullName,
  load,
  quoted,
  rowsOf,
  same,
  setStatus,
  sourceOf,
  type Fingerprint,
  type Source,
} from './chunk-source.js';
import type { ArchivedChunk, ArchiveStep } from './models.js';

/** How often a chunk that changes while it is written is written again. */
const ATTEMPTS = 3;

/** A time for a file name: 20260501T120000Z. */
const compact = (timestamp: string): string => timestamp.replaceAll(/[-:]|\.\d+/g, '');

export async function archiveChunk(
  pool: Pool,
  client: Client,
  model: TableModel,
  eventId: string,
  directory: string,
  chunk: ArchivedChunk,
  report: (step: ArchiveStep) => Promise<void>,
): Promise<void> {
  const { rangeStart, rangeEnd } = chunk;
  const source = await sourceOf(client, model);
  const file = `${fullName(model)}/${compact(rangeStart)}-${compact(rangeEnd)}-${eventId.slice(0, 8)}.csv.gz`;
  const path = join(directory, file);
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    // After a rebuild the chunk of a range has another name.
    const live = (await chunksOf(client, model)).find(
      (c) => c.rangeStart === rangeStart && c.rangeEnd === rangeEnd,
    );
    if (!live) {
      await client.query(
        `update timescale.archived_chunks set state = case state when 'written' then 'dropped' else 'gone' end
          where event_id = $1 and range_start = $2`,
        [eventId, rangeStart],
      );
      return;
    }
    await setStatus(client, eventId, 'archiving');
    // In a separate session, which ends when the stream fails: the other one must still be able to report that.
    const [wanted, written] = await withSession(pool, 'waylog archive', async (reader) => {
      await reader.query('begin isolation level repeatable read read only');
      const rows = rowsOf(source, chunk);
      return [
        await fingerprint(reader, source, rows),
        await writeRows(reader, `${rows} order by ${quoted(source.key)}`, path),
      ] as const;
    });
    await report('copied');

    await setStatus(client, eventId, 'verifying');
    const loaded = await withSession(pool, 'waylog archive', async (reader) => {
      await reader.query('begin');
      return load(reader, source, path);
    });
    if ((await sha256Of(path)) !== written.sha256 || !same(loaded, wanted)) {
      throw conflict(
        'archive.unverified',
        `${path} does not read back as the ${wanted.rows} rows that were written (${loaded.rows} came back). Nothing was ` +
          'dropped. Check the disk, then run it again.',
      );
    }
    await report('verified');

    const manifest: Manifest = {
      format: 'waylog-archive-1',
      eventId,
      table: fullName(model),
      timeColumn: source.timeColumn,
      chunk: live.chunkName,
      rangeStart,
      rangeEnd,
      columns: source.columns,
      file,
      rows: wanted.rows,
      ...written,
      rowHash: wanted.hash,
      writtenAt: new Date().toISOString(),
    };
    await writeManifest(path, manifest);
    await client.query(
      `update timescale.archived_chunks
          set state = 'written', chunk_name = $3, file = $4, row_count = $5, bytes = $6, sha256 = $7, row_hash = $8
        where event_id = $1 and range_start = $2`,
      [eventId, rangeStart, live.chunkName, file, wanted.rows, written.bytes, written.sha256, wanted.hash],
    );
    await report('written');

    if (await dropIfSame(client, model, source, eventId, { ...chunk, chunkName: live.chunkName }, wanted)) {
      await report('dropped');
      return;
    }
    await report('changed');
  }
  throw conflict(
    'archive.chunk-changing',
    `The rows from ${rangeStart} to ${rangeEnd} of ${fullName(model)} changed each of the ${ATTEMPTS} times that they were written. ` +
      'Nothing of them was dropped. Archive them when nobody writes there any more.',
  );
}

/** Drops a chunk, under a lock against writers, if its rows are still those of the file: one transaction. */
function dropIfSame(
  client: Client,
  model: TableModel,
  source: Source,
  eventId: string,
  chunk: ArchivedChunk,
  wanted: Fingerprint,
): Promise<boolean> {
  return inBriefTransaction(client, async () => {
    // Readers continue while the rows are compared; the drop itself then needs the exclusive lock.
    await client.query(`lock table ${chunk.chunkName} in share row exclusive mode`);
    if (!same(await fingerprint(client, source, rowsOf(source, chunk)), wanted)) return false;
    const { rows } = await client.query<{ name: string }>(
      `select drop_chunks($1::text::regclass, older_than => $2::timestamptz, newer_than => $3::timestamptz) as name`,
      [source.table, chunk.rangeEnd, chunk.rangeStart],
    );
    if (rows.length !== 1 || rows[0]?.name !== chunk.chunkName) {
      throw conflict(
        'archive.other-chunk',
        `Dropping ${chunk.chunkName} would have dropped ${rows.map(({ name }) => name).join(', ') || 'nothing'}; it was not done.`,
      );
    }
    const range = { start: new Date(chunk.rangeStart), end: new Date(chunk.rangeEnd) };
    await recordDropped(client, model, [range], 'archive');
    await client.query(
      `update timescale.archived_chunks set state = 'dropped' where event_id = $1 and range_start = $2`,
      [eventId, chunk.rangeStart],
    );
    return true;
  });
}
