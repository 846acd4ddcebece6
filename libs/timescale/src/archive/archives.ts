import { randomUUID } from 'node:crypto';
import { join, resolve } from 'node:path';
import type { Client, ClientBase, Pool } from 'pg';
import { conflict, messageOf, notFound } from '#lib/platform';
import { chunksOf } from '../hypertables/hypertable-info.js';
import type { TableModel } from '../hypertables/models.js';
import { withSession } from '../hypertables/session.js';
import { archiveChunk } from './archive-chunk.js';
import { fullName, setStatus } from './chunk-source.js';
import type {
  ArchivalConfirmation,
  ArchivalEvent,
  ArchivalStatus,
  ArchivedChunk,
  ArchiveStep,
  RestoredArchive,
} from './models.js';
import { restoreChunk } from './restore-chunk.js';

/** Held while chunks are archived or restored: one process at a time. */
const ARCHIVE_LOCK = 7239100407;

export interface ArchiveProgress {
  readonly tableName: string;
  readonly chunkName: string;
  readonly step: ArchiveStep;
  /** The steps done, and all steps, of the present table. */
  readonly done: number;
  readonly total: number;
}

export interface ArchiveRunOptions {
  /** Chunks whose end is this or earlier. */
  readonly olderThan: Date;
  /** Where the files go. */
  readonly directory: string;
  /** Full or short names; default all hypertables of the registered models. */
  readonly tables?: readonly string[];
  readonly onProgress?: (progress: ArchiveProgress) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

/**
 * Writes old chunks into files and drops them. A chunk is copied, read back and compared, described by a manifest, and
 * only then dropped, if its rows are still the same. Each step can be repeated, so a kill between two steps loses
 * nothing, and the next run continues from there.
 */
export class Archives {
  constructor(
    private readonly pool: Pool,
    private readonly models: readonly TableModel[],
    /** Called in the transaction that puts rows back: no event announces them. */
    private readonly onRestored: (client: ClientBase) => Promise<unknown> = () => Promise.resolve(),
  ) {}

  /** All archives, complete or not; the newest first. */
  list(): Promise<ArchivalEvent[]> {
    return eventsOf(this.pool, 'true', []);
  }

  /** Throws `archive.not-found`. */
  async get(eventId: string): Promise<ArchivalEvent> {
    const [event] = await eventsOf(this.pool, 'e.event_id::text = $1', [eventId]);
    if (event) return event;
    throw notFound(
      'archive.not-found',
      `There is no archive ${eventId}. \`waylog archive list\` shows them.`,
      {
        eventId,
      },
    );
  }

  /**
   * First continues what an earlier run has left, then archives what is old enough: one event per table. A table that
   * fails is returned as `failed`, and the others continue. Throws `archive.running` while another process archives.
   */
  async run(options: ArchiveRunOptions): Promise<ArchivalConfirmation[]> {
    const { olderThan, signal } = options;
    const directory = resolve(options.directory);
    const models = this.models.filter(
      ({ schema, name }) => options.tables?.some((t) => t === name || t === `${schema}.${name}`) ?? true,
    );
    if (options.tables && models.length < options.tables.length) {
      throw notFound(
        'hypertable.unknown-model',
        `Of ${options.tables.join(', ')}, not all are registered models. Those are ${this.models.map(fullName).join(', ')}.`,
      );
    }
    return locked(this.pool, async (client) => {
      const unfinished = await eventsOf(
        client,
        `e.status <> 'completed' and e.table_schema || '.' || e.table_name = any ($1)`,
        [models.map(fullName)],
      );
      const confirmations: ArchivalConfirmation[] = [];
      for (const { eventId } of unfinished.reverse()) {
        signal?.throwIfAborted();
        confirmations.push(await this.#finish(client, eventId, options));
      }
      for (const model of models) {
        signal?.throwIfAborted();
        const chunks = (await chunksOf(client, model)).filter(
          ({ rangeEnd }) => new Date(rangeEnd).getTime() <= olderThan.getTime(),
        );
        if (chunks.length === 0) continue;
        const eventId = randomUUID();
        await client.query(
          `with event as (
             insert into timescale.archival_events (event_id, table_schema, table_name, older_than, status, lakehouse_path)
             values ($1, $2, $3, $4, 'pending', $5)
             returning event_id
           )
           insert into timescale.archived_chunks (event_id, range_start, range_end, chunk_name, state)
           select event.event_id, c.range_start, c.range_end, c.chunk_name, 'pending'
             from event, unnest($6::timestamptz[], $7::timestamptz[], $8::text[]) as c (range_start, range_end, chunk_name)`,
          [
            eventId,
            model.schema,
            model.name,
            olderThan,
            directory,
            chunks.map(({ rangeStart }) => rangeStart),
            chunks.map(({ rangeEnd }) => rangeEnd),
            chunks.map(({ chunkName }) => chunkName),
          ],
        );
        confirmations.push(await this.#finish(client, eventId, options));
      }
      return confirmations;
    });
  }

  /**
   * Restores the rows of an archive into its table. A second time changes nothing: rows that are already there stay as
   * they are. Throws `archive.not-found`, `archive.not-completed`, `archive.file-missing`, `archive.tampered`; chunks
   * before the bad one are then restored, and the bad one not at all.
   */
  async restore(
    eventId: string,
    options: {
      readonly directory?: string | undefined;
      readonly onProgress?: ArchiveRunOptions['onProgress'];
    } = {},
  ): Promise<RestoredArchive> {
    const event = await this.get(eventId);
    const model = this.#modelOf(event.tableName);
    const chunks = event.chunks.filter(({ state }) => state === 'dropped' || state === 'restored');
    if (chunks.length === 0) {
      throw conflict(
        'archive.not-completed',
        `Archive ${eventId} is ${event.status} and none of its chunks has left ${event.tableName}: there is nothing to restore.`,
      );
    }
    const directory = resolve(options.directory ?? event.lakehousePath);
    const sums = { restored: 0, present: 0, outdated: 0 };
    await locked(this.pool, async (client) => {
      for (const [n, chunk] of chunks.entries()) {
        const file = join(directory, chunk.file ?? '');
        const counts = await restoreChunk(client, model, event, chunk, file, this.onRestored);
        for (const key of ['restored', 'present', 'outdated'] as const) sums[key] += counts[key];
        await options.onProgress?.({
          tableName: event.tableName,
          chunkName: chunk.chunkName,
          step: 'restored',
          done: n + 1,
          total: chunks.length,
        });
      }
    });
    const { rows: kept } = await this.pool.query(
      `select retention from timescale.hypertables
        where table_schema = $1 and table_name = $2 and now() - retention > $3::timestamptz`,
      [model.schema, model.name, chunks[0]?.rangeEnd],
    );
    const notes =
      kept.length > 0
        ? [
            `The retention of ${event.tableName} drops these chunks again at its next run. Take it off to keep them.`,
          ]
        : [];
    if (sums.outdated > 0) {
      notes.push(
        `${sums.outdated} rows were left out, because what they belong to has been deleted or moved since they were archived.`,
      );
    }
    return { eventId, tableName: event.tableName, chunks: chunks.length, ...sums, notes };
  }

  #modelOf(tableName: string): TableModel {
    const model = this.models.find((candidate) => fullName(candidate) === tableName);
    if (model) return model;
    throw notFound('hypertable.unknown-model', `${tableName} is none of the registered models.`, {
      tableName,
    });
  }

  /** Does the remaining steps of an event. */
  async #finish(client: Client, eventId: string, options: ArchiveRunOptions): Promise<ArchivalConfirmation> {
    let errorMessage: string | undefined;
    const { tableName, lakehousePath, chunks } = await this.get(eventId);
    try {
      const model = this.#modelOf(tableName);
      const left = chunks.filter(({ state }) => state === 'pending' || state === 'written');
      let done = 0;
      for (const chunk of left) {
        options.signal?.throwIfAborted();
        const report = async (step: ArchiveStep) => {
          if (step !== 'changed') done++;
          const total = left.length * STEPS_OF_A_CHUNK;
          await options.onProgress?.({
            tableName,
            chunkName: chunk.chunkName,
            step,
            done: Math.min(done, total),
            total,
          });
          options.signal?.throwIfAborted();
        };
        await archiveChunk(this.pool, client, model, eventId, lakehousePath, chunk, report);
      }
      await setStatus(client, eventId, 'completed');
    } catch (error) {
      options.signal?.throwIfAborted();
      errorMessage = messageOf(error);
      await setStatus(client, eventId, 'failed', errorMessage);
    }
    const event = await this.get(eventId);
    const dropped = event.chunks.filter(({ state }) => state === 'dropped' || state === 'restored');
    return {
      eventId,
      tableName,
      status: event.status,
      completedAt: event.completedAt ?? new Date().toISOString(),
      lakehousePath,
      ...(errorMessage !== undefined && { errorMessage }),
      chunks: dropped.length,
      rows: dropped.reduce((sum, { rows = 0 }) => sum + rows, 0),
      bytes: dropped.reduce((sum, { bytes = 0 }) => sum + bytes, 0),
    };
  }
}

/** Copied, verified, written, dropped. */
const STEPS_OF_A_CHUNK = 4;

async function locked<T>(pool: Pool, work: (client: Client) => Promise<T>): Promise<T> {
  return withSession(pool, 'waylog archive', async (client) => {
    const { rows } = await client.query<{ free: boolean }>(`select pg_try_advisory_lock($1) as free`, [
      ARCHIVE_LOCK,
    ]);
    if (!rows[0]?.free) {
      throw conflict(
        'archive.running',
        'Another process is archiving or restoring on this database now. Wait for it; `waylog archive list` shows how far it is.',
      );
    }
    return work(client);
  });
}

async function eventsOf(
  client: Pick<Client, 'query'>,
  where: string,
  values: unknown[],
): Promise<ArchivalEvent[]> {
  const { rows } = await client.query<{
    event_id: string;
    table_name: string;
    status: ArchivalStatus;
    older_than: Date;
    lakehouse_path: string;
    created_at: Date;
    completed_at: Date | null;
    error_message: string | null;
  }>(
    `select e.event_id, e.table_schema || '.' || e.table_name as table_name, e.status, e.older_than, e.lakehouse_path,
            e.created_at, e.completed_at, e.error_message
       from timescale.archival_events e where ${where} order by e.created_at desc`,
    values,
  );
  const { rows: chunks } = await client.query<{
    event_id: string;
    range_start: Date;
    range_end: Date;
    chunk_name: string;
    state: ArchivedChunk['state'];
    file: string | null;
    row_count: string | null;
    bytes: string | null;
    sha256: string | null;
    row_hash: string | null;
  }>(`select * from timescale.archived_chunks where event_id = any ($1) order by range_start`, [
    rows.map(({ event_id }) => event_id),
  ]);
  return rows.map((row) => ({
    eventId: row.event_id,
    tableName: row.table_name,
    status: row.status,
    olderThan: row.older_than.toISOString(),
    lakehousePath: row.lakehouse_path,
    createdAt: row.created_at.toISOString(),
    ...(row.completed_at && { completedAt: row.completed_at.toISOString() }),
    ...(row.error_message && { errorMessage: row.error_message }),
    chunks: chunks
      .filter(({ event_id }) => event_id === row.event_id)
      .map((chunk) => ({
        chunkName: chunk.chunk_name,
        rangeStart: chunk.range_start.toISOString(),
        rangeEnd: chunk.range_end.toISOString(),
        state: chunk.state,
        ...(chunk.file && {
          file: chunk.file,
          rows: Number(chunk.row_count),
          bytes: Number(chunk.bytes),
          sha256: chunk.sha256 ?? '',
          rowHash: chunk.row_hash ?? '',
        }),
      })),
  }));
}
