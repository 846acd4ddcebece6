import { IsInt } from 'class-validator';
import type pg from 'pg';
import {
  Background,
  failureOf,
  IsTimestamp,
  messageOf,
  Optional,
  readRows,
  timestampFromPostgres,
  type Timestamp,
  isAborted,
  pause,
  roundsWhileLeading,
  sortedJson,
} from '#lib/platform';
import { cutShort, type ReadableLog, type RecordedEvent } from '#lib/event-store';
import type { Poison } from './careful-fold.js';
import { FoldError } from './fold-batch.js';
import { connectForFold } from './fold-sessions.js';
import { compareLog } from './folded-log.js';
import { closeGone, recordFindings } from './findings.js';
import { isOfStream } from './lost-events.js';
import { loadOmissions } from './omissions.js';
import { failedEvent, unfoldableText } from './parking.js';
import { textOf, type Projection, type Row, type TableDefinition } from './projection.js';
import type { ProjectorLog } from './projector.js';
import type { KeyDifference } from './table-hash.js';
import { LiveRows } from './table-reads.js';
import { foldInMemory } from './time-travel.js';

export interface ScheduledVerificationOptions {
  readonly projector: string;
  readonly projections: readonly Projection[];
  readonly store: ReadableLog;
  readonly connectionString: string;
  readonly log: ProjectorLog;
  /** The value of the first key column of a stream's rows: its id. */
  readonly keyOf: (streamId: string) => string;
  /** All streams whose rows have the value of this one's there: one of each category. */
  readonly besides: (streamId: string) => readonly string[];
  /** The largest share of the time that it can work, from 0 to 1; the rest it waits. */
  readonly share: number;
  /** Tables whose rows before a time were dropped on purpose (retention), by `schema.table`. */
  readonly retainedSince?: () => Promise<ReadonlyMap<string, Date>>;
  /** The shortest pause between two rounds through all streams. */
  readonly roundIntervalMs?: number;
}

/** A stream with more events than this is left to `waylog verify`: it would need much memory for a while. */
const MAX_EVENTS = 100_000;

const PAGE = 100;
const STANDBY_MS = 30_000;

/**
 * Verifies the tables for as long as the server runs, stream by stream: folds a stream in memory, compares with its
 * rows, records differences, and then waits so that its share of the time never exceeds the limit. One process at a
 * time does it. Its place is recorded, and the next process continues from there.
 */
export class ScheduledVerification {
  readonly #background = new Background((signal) => this.#run(signal));

  constructor(private readonly options: ScheduledVerificationOptions) {}

  start(): void {
    if (this.options.share > 0) this.#background.start();
  }

  stop(): Promise<void> {
    return this.#background.stop();
  }

  #run(signal: AbortSignal): Promise<void> {
    const { projector, log, connectionString, roundIntervalMs = 60_000 } = this.options;
    const name = `waylog verification ${projector}`;
    return roundsWhileLeading(
      {
        lock: name,
        connect: () => connectForFold(connectionString, name),
        // The current stream can be verified again: a stop does not wait for it.
        round: (client) => this.#round(client, signal),
        roundIntervalMs,
        standbyIntervalMs: STANDBY_MS,
        onInterrupted: (error) =>
          log.warn(`The scheduled verification was interrupted: ${messageOf(failureOf(error))}`),
      },
      signal,
    );
  }

  /** Once through all streams from where the last run stopped. */
  async #round(client: pg.Client, signal: AbortSignal): Promise<void> {
    const { projector, share, store } = this.options;
    // The projector reports that, and there is nothing to compare with.
    if ((await compareLog(client, store, projector)) === 'other') return;
    await client.query(
      `insert into projection.verifications (projector) values ($1) on conflict do nothing`,
      [projector],
    );
    while (!isAborted(signal)) {
      const { rows } = await client.query<{ stream_id: string }>(
        `select stream_id from projection.stream_revisions
          where projector = $1
            and stream_id > (select after_stream from projection.verifications where projector = $1)
          order by stream_id limit $2`,
        [projector, PAGE],
      );
      if (rows.length === 0) break;
      for (const { stream_id: streamId } of rows) {
        if (isAborted(signal)) return;
        const began = performance.now();
        const looked = await this.verifyStream(client, streamId);
        await client.query(
          `update projection.verifications
              set after_stream = $2, streams = streams + $3, skipped = skipped + $4 where projector = $1`,
          [projector, streamId, looked ? 1 : 0, looked ? 0 : 1],
        );
        await pause(restAfter(performance.now() - began, share), signal);
      }
    }
    if (isAborted(signal)) return;
    await client.query(
      `update projection.verifications
          set after_stream = '', streams = 0, skipped = 0, last_round_streams = streams,
              last_round_ended_at = clock_timestamp(), round_began_at = clock_timestamp()
        where projector = $1`,
      [projector],
    );
  }

  /**
   * Compares the rows of one stream with the fold of its events; false if it is too long for that. A stream of another
   * category can have rows under the same key: all of them are folded together.
   */
  async verifyStream(client: pg.Client, streamId: string): Promise<boolean> {
    const { store, projector, projections, keyOf, besides, log } = this.options;
    const retained = await this.options.retainedSince?.();
    const key = keyOf(streamId);
    const streams = besides(streamId);
    // At one moment: how far the stream has been folded, what was left out of it, and the rows.
    await client.query('begin isolation level repeatable read read only');
    let revisions: ReadonlyMap<string, number>;
    let omissions;
    const live = new Map<Projection, Row[]>();
    try {
      const { rows } = await client.query<{ stream: string; revision: number }>(
        `select stream_id as stream, revision from projection.stream_revisions
          where projector = $1 and stream_id = any ($2)`,
        [projector, streams],
      );
      revisions = new Map(rows.map((row) => [row.stream, row.revision]));
      if (rows.reduce((sum, row) => sum + row.revision, 0) >= MAX_EVENTS) return false;
      omissions = await loadOmissions(client, projector);
      const tables = new LiveRows(client);
      for (const projection of projections)
        live.set(projection, await tables.select(readOf(projection.table, key, retained)));
    } finally {
      await client.query('rollback');
    }
    const revision = revisions.get(streamId) ?? -1;
    const left = omissions;
    const histories = [...revisions].map(([stream, to]) => wholeStream(store, stream, to));
    const events = async function* (): AsyncIterable<RecordedEvent[]> {
      for await (const page of inLogOrder(store, histories)) yield page.filter((event) => !left.has(event));
    };
    const expected = await foldInMemory(projections, events()).catch((error: unknown) => {
      if (error instanceof FoldError) return { event: error.event, error: error.message };
      if (isOfStream(error)) return { event: undefined, error: error.message };
      throw error;
    });
    if ('error' in expected) {
      if (!expected.event && streams.some((stream) => left.accepted.has(stream)))
        for (const { name } of projections)
          await closeGone(client, { projector, projection: name }, [], [key]);
      else if (expected.event) await this.#damaged(client, expected, key, live, revision);
      else await this.#incomplete(client, streamId, expected.error, key, live, revision);
      return true;
    }
    for (const { name, table } of projections) {
      const projection = projections.find((p) => p.name === name) as Projection;
      const right = await expected.select(readOf(table, key, retained));
      const found = live.get(projection) ?? [];
      const differences: KeyDifference[] = isSame(table, found, right)
        ? []
        : [{ key, rowsFound: found.length, rowsExpected: right.length }];
      const finding = {
        projector,
        projection: name,
        differences,
        position: `revision ${revision}`,
        by: 'schedule',
      };
      if (differences.length > 0) {
        await recordFindings(client, finding);
        log.warn(
          `Table ${table.schema}.${table.name} is not what the log says for ${streamId}. See \`waylog verify\`.`,
        );
      }
      await closeGone(client, { projector, projection: name }, differences, [key]);
    }
    return true;
  }

  /** A stream of which the log has lost something is a finding in each table that has rows of it. */
  async #incomplete(
    client: pg.Client,
    streamId: string,
    error: string,
    key: string,
    live: ReadonlyMap<Projection, readonly Row[]>,
    revision: number,
  ): Promise<void> {
    for (const [projection, rows] of live) {
      if (rows.length === 0) continue;
      const difference = { key, rowsFound: rows.length, rowsExpected: 0, error };
      await recordFindings(client, {
        projector: this.options.projector,
        projection: projection.name,
        differences: [difference],
        position: `revision ${revision}`,
        by: 'schedule',
      });
    }
    this.options.log.warn(`${streamId} cannot be verified: ${error} Its rows were left as they are.`);
  }

  /** An event that cannot be folded is a finding in each table that is made from events of its type. */
  async #damaged(
    client: pg.Client,
    poison: Poison,
    key: string,
    live: ReadonlyMap<Projection, readonly Row[]>,
    revision: number,
  ): Promise<void> {
    const { projections, log } = this.options;
    const error = `the ${unfoldableText(failedEvent(poison))}`;
    for (const projection of projections.filter((one) => one.concerns(poison.event.type))) {
      const difference = { key, rowsFound: live.get(projection)?.length ?? 0, rowsExpected: 0, error };
      await recordFindings(client, {
        projector: this.options.projector,
        projection: projection.name,
        differences: [difference],
        position: `revision ${revision}`,
        by: 'schedule',
      });
    }
    log.warn(
      `${poison.event.streamId} cannot be verified: ${error}. Its rows were left as they are. See \`waylog verify\`.`,
    );
  }
}

/** The events of a stream up to a revision, all of them. @throws WaylogError `log.stream-cut-short` */
async function* wholeStream(
  store: ReadableLog,
  streamId: string,
  toRevision: number,
): AsyncGenerator<RecordedEvent[]> {
  let next = 0;
  for await (const page of store.readStream(streamId, { toRevision })) {
    for (const { revision } of page) if (revision !== next++) throw cutShort(streamId, next - 1);
    yield page;
  }
  if (next <= toRevision) throw cutShort(streamId, next);
}

/** The events of several streams, as the log has them among each other. */
async function* inLogOrder(
  store: ReadableLog,
  histories: readonly AsyncGenerator<RecordedEvent[]>[],
): AsyncGenerator<RecordedEvent[]> {
  const [only, ...others] = histories;
  if (only && others.length === 0) {
    yield* only;
    return;
  }
  const sources = histories.map(oneByOne);
  try {
    let heads: { readonly event: RecordedEvent; readonly source: AsyncGenerator<RecordedEvent, void> }[] = [];
    const advance = async (source: AsyncGenerator<RecordedEvent, void>) => {
      const { value: event, done } = await source.next();
      if (!done) heads.push({ event, source });
    };
    for (const source of sources) await advance(source);
    while (heads.length > 0) {
      const first = heads.reduce((a, b) => (store.compare(b.event.position, a.event.position) < 0 ? b : a));
      heads = heads.filter((head) => head !== first);
      yield [first.event];
      await advance(first.source);
    }
  } finally {
    for (const source of sources) await source.return();
  }
}

async function* oneByOne(pages: AsyncIterable<RecordedEvent[]>): AsyncGenerator<RecordedEvent, void> {
  for await (const page of pages) yield* page;
}

/** How long to wait after some work, so that the work is at most `share` of both. */
export const restAfter = (workedMs: number, share: number): number =>
  share >= 1 ? 0 : workedMs * (1 / share - 1);

const readOf = (table: TableDefinition, key: string, retained?: ReadonlyMap<string, Date>) => {
  const since = retained?.get(`${table.schema}.${table.name}`);
  return {
    table,
    where: { [table.key[0] as string]: key },
    orderBy: table.key,
    ...(since && table.timeColumn && { ranges: [{ column: table.timeColumn, from: since.toISOString() }] }),
  };
};

const isSame = (table: TableDefinition, found: readonly Row[], right: readonly Row[]): boolean => {
  const columns = Object.keys(table.columns);
  const texts = (rows: readonly Row[]) =>
    rows.map((row) => columns.map((column) => canonical(row[column] ?? null)).join('\u0000')).sort();
  const [a, b] = [texts(found), texts(right)];
  return a.length === b.length && a.every((text, i) => text === b[i]);
};

/** jsonb does not keep the order of fields. */
const canonical = (value: Row[string]): string =>
  typeof value === 'object' && value !== null ? sortedJson(value) : textOf(value);

/** The progress of the scheduled verification. */
export class VerificationProgress {
  /** How many streams this round has verified. */
  @IsInt() readonly streams!: number;
  /** How many streams were too long for it: only a full verification checks them. */
  @IsInt() readonly skipped!: number;
  @IsTimestamp() readonly roundBeganAt!: Timestamp;
  @Optional() @IsTimestamp() readonly lastRoundEndedAt?: Timestamp;
  @Optional() @IsInt() readonly lastRoundStreams?: number;
}

export async function verificationProgress(
  pool: pg.Pool,
  projector: string,
): Promise<VerificationProgress | undefined> {
  const [row] = await readRows(
    pool,
    undefined,
    `select streams, skipped, round_began_at, last_round_ended_at, last_round_streams
       from projection.verifications where projector = $1`,
    [projector],
  );
  if (!row) return undefined;
  const [streams, skipped, beganAt, endedAt, lastStreams] = row;
  return {
    streams: Number(streams),
    skipped: Number(skipped),
    roundBeganAt: timestampFromPostgres(beganAt as string),
    ...(endedAt && {
      lastRoundEndedAt: timestampFromPostgres(endedAt),
      lastRoundStreams: Number(lastStreams),
    }),
  };
}
