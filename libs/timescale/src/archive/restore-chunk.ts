import type { Client, ClientBase } from 'pg';
import { conflict, messageOf } from '#lib/platform';
import { decompressWithoutLimit } from '../hypertables/decompression.js';
import type { TableModel } from '../hypertables/models.js';
import { inBriefTransaction } from '../hypertables/session.js';
import { readManifest, sha256Of } from './chunk-file.js';
import { fingerprint, fingerprintSql, load, names, same, sourceOf } from './chunk-source.js';
import type { ArchivalEvent, ArchivedChunk } from './models.js';

export async function restoreChunk(
  client: Client,
  model: TableModel,
  event: ArchivalEvent,
  chunk: ArchivedChunk,
  path: string,
  onRestored: (client: ClientBase) => Promise<unknown>,
): Promise<{ restored: number; present: number; outdated: number }> {
  const source = await sourceOf(client, model);
  await checkFile(event, chunk, path);
  return inBriefTransaction(client, async () => {
    await decompressWithoutLimit(client, 'transaction');
    const loaded = await load(client, source, path).catch((error: unknown) => {
      throw tampered(path, `it cannot be read back (${messageOf(error)})`);
    });
    if (!same(loaded, { rows: chunk.rows ?? -1, hash: chunk.rowHash ?? '' }))
      throw tampered(path, `its ${loaded.rows} rows are not the ${chunk.rows ?? 0} that were archived`);
    const matching = (columns: readonly string[]) =>
      columns.map((column) => `live."${column}" = archived."${column}"`).join(' and ');
    const present = await client.query(
      `delete from archived where exists (select from ${source.table} live where ${matching(source.key)})`,
    );
    let outdated = 0;
    if (model.identity) {
      // The same frame has another time by now.
      const { rowCount } = await client.query(
        `delete from archived where exists (select from ${source.table} live where ${matching(model.identity)})`,
      );
      outdated += rowCount ?? 0;
    }
    if (model.owner) {
      const { rowCount } = await client.query(
        `delete from archived where not exists
           (select from ${model.owner.table} owner where owner."${model.owner.key}" = archived."${model.owner.column}")`,
      );
      outdated += rowCount ?? 0;
    }
    const wanted = await fingerprint(client, source, 'select * from archived');
    const { rows: put } = await client.query<{ rows: string; hash: string }>(
      `with put as (
         insert into ${source.table} (${names(source)}) select ${names(source)} from archived on conflict do nothing
         returning ${names(source)}
       ) ${fingerprintSql(source, 'select * from put')}`,
    );
    if (!same({ rows: Number(put[0]?.rows), hash: put[0]?.hash ?? '' }, wanted)) {
      throw conflict(
        'archive.in-use',
        `Somebody wrote to ${event.tableName} while rows were being restored there. Nothing of this chunk was restored; try again.`,
      );
    }
    await client.query(
      `delete from timescale.dropped_ranges
        where table_schema = $1 and table_name = $2 and range_start = $3 and range_end = $4`,
      [model.schema, model.name, chunk.rangeStart, chunk.rangeEnd],
    );
    await client.query(
      `update timescale.archived_chunks set state = 'restored' where event_id = $1 and range_start = $2`,
      [event.eventId, chunk.rangeStart],
    );
    await onRestored(client);
    return { restored: wanted.rows, present: present.rowCount ?? 0, outdated };
  });
}

/** The file must be, byte by byte, the one that the database and its manifest describe. */
async function checkFile(event: ArchivalEvent, chunk: ArchivedChunk, path: string): Promise<void> {
  const missing = (error: unknown) => {
    throw conflict(
      'archive.file-missing',
      `${path} or its manifest cannot be read (${messageOf(error)}). The files were written to ${event.lakehousePath}; ` +
        'if they have been moved since, say where they are.',
      { eventId: event.eventId },
    );
  };
  const manifest = await readManifest(path).catch(missing);
  const known = { sha256: chunk.sha256, rows: chunk.rows, rowHash: chunk.rowHash };
  for (const [name, value] of Object.entries(known)) {
    if (manifest[name as keyof typeof known] !== value)
      throw tampered(path, `its manifest says another ${name} than the database`);
  }
  if ((await sha256Of(path).catch(missing)) !== chunk.sha256) throw tampered(path, 'its SHA-256 is another');
}

export const tampered = (path: string, why: string) =>
  conflict(
    'archive.tampered',
    `${path} is not the file that was archived: ${why}. Nothing of it was restored. Fetch it from a backup; or rebuild the table ` +
      'from the log, which still has every event.',
    { path },
  );
