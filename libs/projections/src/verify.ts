import type pg from 'pg';
import { asText, WaylogError, type Timestamp } from '#lib/platform';
import type { EventStore, LogProblem, Position } from '#lib/event-store';
import { decompressWithoutLimit } from '#lib/timescale';
import { atCheckpoint, checkpointOf } from './at-checkpoint.js';
import { loadStreamRevisionsOf } from './checkpoints.js';
import type { Poison } from './careful-fold.js';
import { beginComparison, withFoldSessions, type FoldSessions } from './fold-sessions.js';
import { closeGone, recordFindings, recordRepair } from './findings.js';
import { requireSameLog } from './folded-log.js';
import { endCachedAnswers } from './generation.js';
import { failedEvent, unfoldableText, type FailedEvent, type OnRewritten } from './parking.js';
import type { Projection } from './projection.js';
import { ShadowFold } from './shadow-fold.js';
import { createShadow, dropShadow, shadowOf, type Shadow } from './shadow-table.js';
import { compareByKey, sidesOf, type KeyDifference } from './table-hash.js';
import { rowFromText } from './table-reads.js';
import { quote, TableWriter } from './table-writer.js';

export interface VerifyOptions {
  readonly projector: string;
  readonly projections: readonly Projection[];
  readonly store: EventStore;
  readonly connectionString: string;
  /** The value of the first key column of a stream's rows: its flight. */
  readonly keyOf: (streamId: string) => string;
  /** Rewrites what differs, and nothing else. */
  readonly repair?: boolean;
  /** Who looks, or repairs; stands in the records. */
  readonly by: string;
  /** Tables of which rows before a time were taken away on purpose (retention), by `schema.table`. */
  readonly retainedSince?: ReadonlyMap<string, Date> | undefined;
  readonly onRewritten?: OnRewritten | undefined;
  readonly batchSize?: number;
  readonly onProgress?: (events: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface VerifiedTable {
  readonly projection: string;
  readonly rows: number;
  /** Only rows from then on were compared. */
  readonly since?: Timestamp;
  readonly differences: readonly (KeyDifference & { readonly repaired?: RowsRepaired })[];
}

export interface RowsRepaired {
  readonly rowsRemoved: number;
  readonly rowsWritten: number;
}

export interface VerifyResult {
  readonly events: number;
  readonly position: Position;
  /** What is wrong in the log itself. Tables are compared only when it is whole: with holes, nobody knows what is right. */
  readonly log: readonly LogProblem[];
  /** Streams whose record of what has been folded is not what the log says. */
  readonly records: readonly {
    readonly streamId: string;
    readonly recorded: number;
    readonly folded: number;
  }[];
  /** Events that cannot be folded: of their streams nobody knows what is right, so their rows are neither compared nor repaired. */
  readonly unfoldable: readonly FailedEvent[];
  readonly tables: readonly VerifiedTable[];
  /** Nothing differed, and nothing but warnings was said of the log. */
  readonly isSound: boolean;
}

/**
 * Folds the log into shadows of the tables and compares them with the live ones, by hash and flight by flight, as they
 * are at the projector's checkpoint. Reads and the projector go on meanwhile. What differs is written down; with
 * `repair`, exactly the rows that differ are rewritten, and that is written down too.
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  const { projector, projections, store, signal, by } = options;
  const names = projections.map(({ name }) => name);
  const log = (await store.check?.()) ?? [];
  if (log.some(({ severity }) => severity === 'error')) return damagedLog(store, log);
  return withFoldSessions('verify', options, async (sessions) => {
    const { writer, holder } = sessions;
    await requireSameLog(holder, store);
    const total = (await store.backlog(store.beginning)).events;
    const shadows = new Map(
      projections.map((projection) => [projection, shadowOf('verify', projection.table)]),
    );
    try {
      for (;;) {
        for (const shadow of shadows.values()) await createShadow(writer, shadow);
        const result = await attempt(sessions, shadows, total);
        // A parked stream was taken up meanwhile: once more, from the beginning.
        if (result) return result;
      }
    } catch (error) {
      const gap = gapOf(error);
      if (!gap) throw error;
      return damagedLog(store, [...log, gap]);
    } finally {
      if (!signal?.aborted) for (const shadow of shadows.values()) await dropShadow(writer, shadow);
    }
  });

  async function attempt(
    sessions: FoldSessions,
    shadows: ReadonlyMap<Projection, Shadow>,
    total: number,
  ): Promise<VerifyResult | undefined> {
    const { writer, holder } = sessions;
    const fold = new ShadowFold(writer, shadows, {
      ...options,
      onProgress: (events) => options.onProgress?.(events, Math.max(total, events)),
    });
    for (let round = 0; round < 2; round++)
      if (!(await fold.upTo(await checkpointOf(holder, store, names)))) return undefined;
    const position = await beginComparison(sessions, store, names, fold);
    if (position === undefined) return undefined;
    const tables: VerifiedTable[] = [];
    const damaged = new Map(fold.unfoldable.map((poison) => [options.keyOf(poison.event.streamId), poison]));
    const damages = new Map<string, Damage[]>();
    for (const [projection, shadow] of shadows) {
      const since = options.retainedSince?.get(shadow.liveName);
      const { rows, differences } = await compareByKey(
        writer,
        shadow.table,
        shadow.liveName,
        shadow.name,
        `where ${retainedSql(shadow, options)}`,
      );
      tables.push({
        projection: projection.name,
        ...(since && { since: since.toISOString() }),
        rows,
        differences: differences.filter(({ key }) => !damaged.has(key)),
      });
      damages.set(projection.name, await damagesOf(writer, projection, shadow.liveName, damaged));
    }
    const recorded = await loadStreamRevisionsOf(writer, projector);
    await writer.query('commit');
    const records = [...new Set([...fold.revisions.keys(), ...recorded.keys()])].flatMap((streamId) => {
      const record = recorded.get(streamId) ?? -1;
      const folded = fold.revisions.get(streamId) ?? -1;
      return record === folded ? [] : [{ streamId, recorded: record, folded }];
    });
    for (const { projection, differences } of tables) {
      const found = [...differences, ...(damages.get(projection) ?? [])];
      await recordFindings(holder, { projection, differences: found, position, by });
      await closeGone(holder, projection, found);
    }
    const repaired = options.repair
      ? await repairTables(holder, fold, shadows, tables, { store, names, by, options })
      : tables;
    if (!repaired) return undefined;
    return {
      events: fold.events,
      position,
      log,
      records,
      unfoldable: fold.unfoldable.map(failedEvent),
      tables: repaired,
      isSound:
        records.length === 0 &&
        fold.unfoldable.length === 0 &&
        tables.every((table) => table.differences.length === 0),
    };
  }
}

/** A log that does not say what is right: nothing was compared with it. */
const damagedLog = (store: EventStore, log: readonly LogProblem[]): VerifyResult => ({
  events: 0,
  position: store.beginning,
  log,
  records: [],
  unfoldable: [],
  tables: [],
  isSound: false,
});

/** In EventStoreDB nobody looks for what a stream has lost before the fold meets it. */
const gapOf = (error: unknown): LogProblem | undefined =>
  error instanceof WaylogError && error.code === 'projection.gap'
    ? {
        severity: 'error',
        code: 'stream-gap',
        streamId: error.data['streamId'] as string,
        detail: `goes on with revision ${error.data['revision'] as number}, but ${error.data['expected'] as number} comes next`,
      }
    : undefined;

type Damage = KeyDifference & { readonly error: string };

/** An event that cannot be folded is a finding in each table that is made from events like it. What is right there, nobody knows. */
async function damagesOf(
  client: pg.Client,
  projection: Projection,
  liveName: string,
  damaged: ReadonlyMap<string, Poison>,
): Promise<Damage[]> {
  const here = [...damaged].filter(([, { event }]) => projection.concerns(event.type));
  if (here.length === 0) return [];
  const key = quote(projection.table.key[0] as string);
  const { rows } = await client.query<{ key: string; rows: number }>(
    `select ${key} as key, count(*)::integer as rows from ${liveName} where ${key} = any ($1) group by 1`,
    [here.map(([key]) => key)],
  );
  return here.map(([key, poison]) => ({
    key,
    rowsFound: rows.find((row) => row.key === key)?.rows ?? 0,
    rowsExpected: 0,
    error: `the ${unfoldableText(failedEvent(poison))}`,
  }));
}

const retainedSql = ({ table, liveName }: Shadow, { retainedSince }: VerifyOptions): string =>
  sidesOf(table, retainedSince?.get(liveName)).kept;

/** Rewrites the rows of the keys that differ, while the projector is held at its checkpoint: one transaction a table. */
async function repairTables(
  holder: pg.Client,
  fold: ShadowFold,
  shadows: ReadonlyMap<Projection, Shadow>,
  tables: readonly VerifiedTable[],
  context: { store: EventStore; names: readonly string[]; by: string; options: VerifyOptions },
): Promise<VerifiedTable[] | undefined> {
  const repaired: VerifiedTable[] = [];
  for (const [projection, shadow] of shadows) {
    const table = tables.find((candidate) => candidate.projection === projection.name) as VerifiedTable;
    if (table.differences.length === 0) {
      repaired.push(table);
      continue;
    }
    const done = await atCheckpoint(holder, context.store, context.names, async (position) => {
      if (!(await fold.upTo(position))) return undefined;
      await decompressWithoutLimit(holder, 'transaction');
      const differences: VerifiedTable['differences'][number][] = [];
      for (const difference of table.differences) {
        const rows = await repairKey(holder, shadow, difference.key, retainedSql(shadow, context.options));
        await recordRepair(holder, {
          projection: projection.name,
          key: difference.key,
          by: context.by,
          rows,
        });
        differences.push({ ...difference, repaired: rows });
      }
      await endCachedAnswers(holder);
      await context.options.onRewritten?.(
        holder,
        differences.map(({ key }) => key),
      );
      return { ...table, differences };
    });
    if (!done) return undefined;
    repaired.push(done);
  }
  return repaired;
}

/** Rows that are looked up before they are removed, at a time. */
const REPAIR_BATCH = 10_000;

/**
 * Removes the rows of a key that should not be there as they are, and writes those that are missing. Which they are is
 * found by reading: a statement that searched while it removes, or wrote over what is right, would decompress the flight.
 */
async function repairKey(
  client: pg.Client,
  { table, name, liveName }: Shadow,
  key: string,
  retained: string,
): Promise<RowsRepaired> {
  const of = `t.${quote(table.key[0] as string)} = $1 and ${retained}`;
  const sameKey = table.key.map((column) => `s.${quote(column)} = t.${quote(column)}`).join(' and ');
  const columns = Object.keys(table.columns).map(quote);
  // Written out: of compressed rows TimescaleDB cannot join the row as a whole.
  const row = (alias: string) => `row(${columns.map((column) => `${alias}.${column}`).join(', ')})::text`;
  const writer = new TableWriter(table);
  // A cursor sees what was there when it was opened, whatever is removed meanwhile.
  await client.query(
    `declare wrong no scroll cursor for
     select ${table.key.map((column) => `t.${quote(column)}`).join(', ')} from ${liveName} t
      where ${of} and not exists (select from ${name} s where ${sameKey} and ${row('s')} = ${row('t')})
      order by ${[table.timeColumn ?? [], ...table.key]
        .flat()
        .map((column) => `t.${quote(column)}`)
        .join(', ')}`,
    [key],
  );
  let rowsRemoved = 0;
  for (let found = REPAIR_BATCH; found === REPAIR_BATCH; rowsRemoved += found) {
    const { rows: keys } = await client.query<(string | null)[]>({
      text: `fetch ${REPAIR_BATCH} from wrong`,
      rowMode: 'array',
      types: asText,
    });
    await writer.remove(
      client,
      keys.map((texts) => rowFromText(table, table.key, texts)),
    );
    found = keys.length;
  }
  await client.query(`close wrong`);
  const written = await client.query(
    `insert into ${liveName} (${columns.join(', ')}) select ${columns.join(', ')} from ${name} t
      where ${of} and not exists (select from ${liveName} s where ${sameKey}) on conflict do nothing`,
    [key],
  );
  return { rowsRemoved, rowsWritten: written.rowCount ?? 0 };
}
