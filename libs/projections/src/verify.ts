import type pg from 'pg';
import { asText, type Timestamp } from '#lib/platform';
import type { ReadableLog, LogProblem, Position } from '#lib/event-store';
import { decompressWithoutLimit } from '#lib/timescale';
import { notAccepted } from './accepted-losses.js';
import { atCheckpoint, checkpointOf, type ProjectorTables } from './at-checkpoint.js';
import { loadStreamRevisionsOf } from './checkpoints.js';
import type { Poison } from './careful-fold.js';
import { beginComparison, withFoldSessions, type FoldSessions } from './fold-sessions.js';
import { closeGone, recordFindings, recordRepair } from './findings.js';
import { compareLog, otherLog } from './folded-log.js';
import { endCachedAnswers } from './generation.js';
import type { Gap } from './contiguity.js';
import { loadOmissions } from './omissions.js';
import {
  failedEvent,
  parkedStreams,
  unfoldableText,
  type AcceptedLoss,
  type FailedEvent,
  type OnRewritten,
} from './parking.js';
import type { Projection } from './projection.js';
import { ShadowFold } from './shadow-fold.js';
import { createShadow, discardShadows, dropShadow, shadowOf, type Shadow } from './shadow-table.js';
import { compareByKey, sidesOf, type KeyDifference } from './table-hash.js';
import { rowFromText } from './table-reads.js';
import { quote, TableWriter } from './table-writer.js';

export interface VerifyOptions {
  readonly projector: string;
  readonly projections: readonly Projection[];
  readonly store: ReadableLog;
  readonly connectionString: string;
  /** The value of the first key column of a stream's rows: its id. */
  readonly keyOf: (streamId: string) => string;
  /** Rewrite what differs, and nothing else. */
  readonly repair?: boolean;
  /** Who verifies or repairs; stored in the records. */
  readonly by: string;
  /** Tables whose rows before a time were dropped on purpose (retention), by `schema.table`. */
  readonly retainedSince?: ReadonlyMap<string, Date> | undefined;
  readonly onRewritten?: OnRewritten | undefined;
  readonly batchSize?: number;
  readonly onProgress?: (events: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface VerifiedTable {
  readonly projector: string;
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
  /** What is wrong in the log itself. */
  readonly log: readonly LogProblem[];
  /** Streams whose record of folded events does not match the log. */
  readonly records: readonly {
    readonly streamId: string;
    readonly recorded: number;
    readonly folded: number;
  }[];
  /** Streams of which the log lacks events: their right rows are unknown, so rows are neither compared nor repaired. */
  readonly incomplete: readonly string[];
  /** Streams that have lost events, which somebody accepted: no fault. */
  readonly accepted: readonly (AcceptedLoss & { readonly streamId: string })[];
  /**
   * Events that cannot be folded: the right rows of their streams are unknown, so rows are neither compared nor
   * repaired.
   */
  readonly unfoldable: readonly FailedEvent[];
  readonly tables: readonly VerifiedTable[];
  /** Nothing differs, and the log has only warnings. */
  readonly isSound: boolean;
}

/**
 * Folds the log into shadow tables and compares them with the live tables at the projector's checkpoint, by hash and
 * stream by stream. Reads and the projector continue meanwhile. Differences are recorded. With `repair`, exactly the
 * rows that differ are rewritten, and that is recorded too. If the log is damaged, the streams that it holds completely
 * are compared.
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  const { projector, projections, store, signal, by } = options;
  const tablesOf: ProjectorTables = { projector, names: projections.map(({ name }) => name) };
  const checked = (await store.check?.()) ?? [];
  return withFoldSessions('verify', options, async (sessions) => {
    const { writer, holder } = sessions;
    const log = notAccepted(checked, (await loadOmissions(holder, projector)).accepted);
    // A log that has lost its first event counts as another log. The damage that was found is then the answer.
    if ((await compareLog(holder, store, projector)) === 'other') {
      if (log.some(isDamage)) return withoutTables(store, log);
      throw otherLog();
    }
    const total = (await store.backlog(store.beginning)).events;
    const shadows = new Map(
      projections.map((projection) => [projection, shadowOf('verify', projection.table)]),
    );
    try {
      for (;;) {
        for (const shadow of shadows.values()) await createShadow(writer, shadow);
        const result = await attempt(sessions, shadows, total, log);
        // A parked stream was resumed meanwhile: start again from the beginning.
        if (!result) continue;
        for (const shadow of shadows.values()) await dropShadow(writer, shadow);
        return result;
      }
    } catch (error) {
      if (!signal?.aborted) await discardShadows(writer, shadows.values());
      throw error;
    }
  });

  async function attempt(
    sessions: FoldSessions,
    shadows: ReadonlyMap<Projection, Shadow>,
    total: number,
    log: readonly LogProblem[],
  ): Promise<VerifyResult | undefined> {
    const { writer, holder } = sessions;
    const fold = new ShadowFold(writer, shadows, {
      ...options,
      passesGaps: true,
      onProgress: (events) => options.onProgress?.(events, Math.max(total, events)),
    });
    for (let round = 0; round < 2; round++)
      if (!(await fold.upTo(await checkpointOf(holder, store, tablesOf)))) return undefined;
    const position = await beginComparison(sessions, store, tablesOf, fold);
    if (position === undefined) return undefined;
    const tables: VerifiedTable[] = [];
    const damaged = new Map(fold.unfoldable.map((poison) => [options.keyOf(poison.event.streamId), poison]));
    const damages = new Map<string, Damage[]>();
    const recorded = await loadStreamRevisionsOf(writer, projector);
    const omissions = await loadOmissions(writer, projector);
    const lost = incompleteStreams(fold, recorded);
    const isAccepted = (streamId: string): boolean => omissions.accepted.has(streamId);
    const incomplete = new Map(
      [...lost]
        .filter(([streamId]) => !isAccepted(streamId))
        .map(([streamId, { error }]) => [options.keyOf(streamId), error]),
    );
    // The tables hold more of them than the log still does.
    const beyondLog = new Set(
      [...lost]
        .filter(([streamId, { from }]) => isAccepted(streamId) && !omissions.isParked(streamId, from))
        .map(([streamId]) => options.keyOf(streamId)),
    );
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
        projector,
        projection: projection.name,
        ...(since && { since: since.toISOString() }),
        rows,
        differences: differences.filter(
          ({ key }) => !damaged.has(key) && !incomplete.has(key) && !beyondLog.has(key),
        ),
      });
      damages.set(projection.name, [
        ...(await damagesOf(writer, projection, shadow.liveName, damaged)),
        ...(await rowsOf(writer, projection, shadow.liveName, incomplete)),
      ]);
    }
    await writer.query('commit');
    const gaps = [...fold.gaps].filter(([streamId]) => !log.some((known) => known.streamId === streamId));
    const found = notAccepted([...log, ...gaps.map(gapProblem)], omissions.accepted);
    const records = [...new Set([...fold.revisions.keys(), ...recorded.keys()])].flatMap((streamId) => {
      const record = recorded.get(streamId) ?? -1;
      const folded = fold.revisions.get(streamId) ?? -1;
      return record === folded || fold.gaps.has(streamId) || isAccepted(streamId)
        ? []
        : [{ streamId, recorded: record, folded }];
    });
    for (const { projection, differences } of tables) {
      const findings = [...differences, ...(damages.get(projection) ?? [])];
      await recordFindings(holder, { projector, projection, differences: findings, position, by });
      await closeGone(holder, { projector, projection }, findings);
    }
    const repaired = options.repair
      ? await repairTables(holder, fold, shadows, tables, { store, tablesOf, by, options })
      : tables;
    if (!repaired) return undefined;
    return {
      events: fold.events,
      position,
      log: found,
      records,
      incomplete: [...lost.keys()].filter((streamId) => !isAccepted(streamId)),
      accepted: (await parkedStreams(holder, projector)).flatMap(({ streamId, accepted }) =>
        accepted ? [{ streamId, ...accepted }] : [],
      ),
      unfoldable: fold.unfoldable.map(failedEvent),
      tables: repaired,
      isSound:
        !found.some(isDamage) &&
        records.length === 0 &&
        fold.unfoldable.length === 0 &&
        tables.every((table) => table.differences.length === 0),
    };
  }
}

const isDamage = ({ severity }: LogProblem): boolean => severity === 'error';

/** Nothing was compared. */
const withoutTables = (store: ReadableLog, log: readonly LogProblem[]): VerifyResult => ({
  events: 0,
  position: store.beginning,
  log,
  records: [],
  incomplete: [],
  accepted: [],
  unfoldable: [],
  tables: [],
  isSound: false,
});

const gapProblem = ([streamId, { revision, expected }]: readonly [string, Gap]): LogProblem => ({
  severity: 'error',
  code: 'stream-gap',
  streamId,
  detail: `goes on with revision ${revision}, but ${expected} comes next`,
});

/** Streams of which the log lacks folded events, from which revision on, and which events it lacks. */
function incompleteStreams(
  { gaps, revisions }: ShadowFold,
  recorded: ReadonlyMap<string, number>,
): Map<string, { readonly from: number; readonly error: string }> {
  const found = new Map<string, { readonly from: number; readonly error: string }>();
  for (const [streamId, { expected: from }] of gaps)
    found.set(streamId, { from, error: `the log has lost its events from revision ${from} on` });
  for (const [streamId, record] of recorded) {
    const last = revisions.get(streamId) ?? -1;
    if (record > last && !gaps.has(streamId))
      found.set(streamId, {
        from: last + 1,
        error: `the log has lost its revisions ${last + 1} to ${record}`,
      });
  }
  return found;
}

type Damage = KeyDifference & { readonly error: string };

/**
 * An event that cannot be folded is a finding in each table that is made from events of its type. The right rows are
 * unknown.
 */
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

/** The rows of streams that the log does not hold completely: each is a finding if there are any. */
async function rowsOf(
  client: pg.Client,
  { table }: Projection,
  liveName: string,
  incomplete: ReadonlyMap<string, string>,
): Promise<Damage[]> {
  if (incomplete.size === 0) return [];
  const key = quote(table.key[0] as string);
  const { rows } = await client.query<{ key: string; rows: number }>(
    `select ${key} as key, count(*)::integer as rows from ${liveName} where ${key} = any ($1) group by 1`,
    [[...incomplete.keys()]],
  );
  return rows.map(({ key, rows }) => ({
    key,
    rowsFound: rows,
    rowsExpected: 0,
    error: incomplete.get(key) ?? '',
  }));
}

const retainedSql = ({ table, liveName }: Shadow, { retainedSince }: VerifyOptions): string =>
  sidesOf(table, retainedSince?.get(liveName)).kept;

/**
 * Rewrites the rows of the keys that differ, while the projector is held at its checkpoint: one transaction per table.
 */
async function repairTables(
  holder: pg.Client,
  fold: ShadowFold,
  shadows: ReadonlyMap<Projection, Shadow>,
  tables: readonly VerifiedTable[],
  context: { store: ReadableLog; tablesOf: ProjectorTables; by: string; options: VerifyOptions },
): Promise<VerifiedTable[] | undefined> {
  const repaired: VerifiedTable[] = [];
  for (const [projection, shadow] of shadows) {
    const table = tables.find((candidate) => candidate.projection === projection.name) as VerifiedTable;
    if (table.differences.length === 0) {
      repaired.push(table);
      continue;
    }
    const done = await atCheckpoint(holder, context.store, context.tablesOf, async (position) => {
      if (!(await fold.upTo(position))) return undefined;
      await decompressWithoutLimit(holder, 'transaction');
      const differences: VerifiedTable['differences'][number][] = [];
      for (const difference of table.differences) {
        const rows = await repairKey(holder, shadow, difference.key, retainedSql(shadow, context.options));
        await recordRepair(holder, {
          projector: context.tablesOf.projector,
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

/** How many rows are looked up at a time before they are removed. */
const REPAIR_BATCH = 10_000;

/**
 * Removes the wrong rows of a key and writes the missing ones. They are found by reading: a statement that searched
 * while it removes, or overwrote correct rows, would decompress all of the stream.
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
  // Written out: TimescaleDB cannot join compressed rows as a whole row.
  const row = (alias: string) => `row(${columns.map((column) => `${alias}.${column}`).join(', ')})::text`;
  const writer = new TableWriter(table);
  // A cursor sees the rows from when it was opened, whatever is removed meanwhile.
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
