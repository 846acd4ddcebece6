import { createHash } from 'node:crypto';
import type pg from 'pg';
import { endClient, retry, type Timestamp } from '#lib/platform';
import type { ReadableLog, Position } from '#lib/event-store';
import { atCheckpoint, checkpointOf, type ProjectorTables } from './at-checkpoint.js';
import { announceCheckpoint } from './checkpoints.js';
import { hasDeclaredColumns } from './declared-columns.js';
import { beginComparison, connectForFold, lockProjections, withFoldSessions } from './fold-sessions.js';
import { requireSameLog } from './folded-log.js';
import { loadOmissions } from './omissions.js';
import type { Projection } from './projection.js';
import { failedEvent, type FailedEvent } from './parking.js';
import { parkUnfoldable, ShadowFold, type FoldProgress } from './shadow-fold.js';
import { createShadow, dropShadow, shadowOf, swapping, swapShadow, type Shadow } from './shadow-table.js';
import {
  compareByKey,
  explainDifferences,
  sidesOf,
  type ExplainedDifference,
  type KeyDifference,
} from './table-hash.js';

export interface RebuildOptions {
  /** The name of the projector that keeps these tables. */
  readonly projector: string;
  readonly projections: readonly Projection[];
  readonly store: ReadableLog;
  readonly connectionString: string;
  readonly batchSize?: number;
  /**
   * Tables whose rows before a time were dropped on purpose (retention), by `schema.table`: the rebuild brings them
   * back.
   */
  readonly retainedSince?: ReadonlyMap<string, Date> | undefined;
  /** Called after each batch with the number of folded events, and about how many there are. */
  readonly onProgress?: (events: number, total: number) => void;
  /**
   * Stops the rebuild. The live tables have not changed. A later rebuild continues from there, or `discardRebuild`
   * removes it.
   */
  readonly signal?: AbortSignal;
}

export interface RebuildResult {
  /** How many events were folded, including those of an earlier rebuild that was interrupted. */
  readonly events: number;
  /** How many of them that earlier rebuild had folded. */
  readonly resumedFrom: number;
  /** The position at which the tables were compared. */
  readonly position: Position;
  /**
   * Streams that are parked now, because one of their events could not be folded: the new tables hold them up to there.
   */
  readonly parked: readonly FailedEvent[];
  readonly tables: readonly RebuiltTable[];
}

export interface RebuiltTable {
  readonly projector: string;
  readonly projection: string;
  /** Of the new table. */
  readonly rows: number;
  /** Only rows from then on were compared. */
  readonly since?: Timestamp;
  /** Older rows that the live table no longer had, and the new one has again. */
  readonly broughtBack: number;
  /** How the old table differed from the log: the streams, up to ten of them explained. The new table is right. */
  readonly differences: readonly (KeyDifference | ExplainedDifference)[];
  readonly identical: boolean;
  /** The old table had other columns, so the two were not compared. */
  readonly hasOtherColumns?: true;
}

/**
 * Folds the whole log into shadow tables beside the live ones, which continue to be read and written, then swaps them.
 * The projector is held only for moments: once to fix the position of the comparison, and once for the swap, in one
 * transaction, at exactly the projector's checkpoint.
 *
 * A stream with an event that cannot be folded is parked from there on, with the swap, and named in the result.
 *
 * Progress is recorded with every batch. If a rebuild is killed, the next one of the same projections continues it,
 * unless the fold, the table, or what is left out of it has changed.
 */
export async function rebuild(options: RebuildOptions): Promise<RebuildResult> {
  for (;;) {
    const result = await attempt(options);
    // A parked stream was resumed meanwhile, so too few of its events were folded: start again from the beginning.
    if (result) return result;
  }
}

const attempt = (options: RebuildOptions): Promise<RebuildResult | undefined> =>
  withFoldSessions('rebuild', options, async (sessions) => {
    const { projector, projections, store, signal } = options;
    const names = projections.map(({ name }) => name);
    const { writer, holder } = sessions;
    const tables: ProjectorTables = { projector, names };
    await requireSameLog(holder, store, projector);
    const total = (await store.backlog(store.beginning)).events;
    const shadows = new Map(
      projections.map((projection) => [projection, shadowOf('rebuild', projection.table)]),
    );
    const resumed = await begin(writer, shadows, projector, store, total);
    const fold = new ShadowFold(
      writer,
      shadows,
      {
        ...options,
        onProgress: (events) => options.onProgress?.(events, Math.max(total, events)),
        record: (client, progress, isWhole) => record(client, tables, progress, isWhole),
      },
      resumed,
    );
    // Up to the projector's checkpoint, while the projector continues; what it adds meanwhile is little.
    for (let round = 0; round < 2; round++)
      if (!(await fold.upTo(await checkpointOf(holder, store, tables)))) return undefined;

    const hashes = await compare();
    if (!hashes) return undefined;
    const swapped = await swapping(
      [...shadows.values()],
      () =>
        atCheckpoint(holder, store, tables, async (checkpoint) => {
          if (!(await fold.upTo(checkpoint))) return false;
          for (const shadow of shadows.values()) await swapShadow(holder, shadow);
          for (const { name, version } of projections) {
            // From `parkings`, a projector that waits for this very row learns that the parked streams have changed.
            await holder.query(
              `update projection.checkpoints set version = $2, parkings = parkings + $3
                where projector = $4 and projection = $1`,
              [name, version, fold.unfoldable.length, projector],
            );
          }
          await forgetRebuild(holder, tables);
          await parkUnfoldable(holder, projector, fold.unfoldable);
          if (fold.unfoldable.length > 0) await announceCheckpoint(holder, projector, checkpoint);
          return true;
        }),
      signal,
    );
    if (!swapped) return undefined;
    return {
      events: fold.events,
      resumedFrom: resumed?.events ?? 0,
      parked: fold.unfoldable.map(failedEvent),
      ...hashes,
    };

    async function compare(): Promise<Pick<RebuildResult, 'position' | 'tables'> | undefined> {
      const position = await beginComparison(sessions, store, tables, fold);
      if (position === undefined) return undefined;
      const compared: RebuiltTable[] = [];
      for (const [{ name }, shadow] of shadows)
        compared.push({
          projector,
          projection: name,
          ...(await compareTable(writer, shadow, options.retainedSince)),
        });
      await writer.query('commit');
      return { position, tables: compared };
    }
  });

/** How many streams are compared row by row. */
const EXPLAINED = 10;

async function compareTable(
  client: pg.Client,
  shadow: Shadow,
  retainedSince: RebuildOptions['retainedSince'],
): Promise<Omit<RebuiltTable, 'projector' | 'projection'>> {
  const { table, name, liveName } = shadow;
  if (!(await hasDeclaredColumns(client, table))) {
    const { rows } = await client.query<{ rows: string }>(`select count(*) as rows from ${name}`);
    const counted = { rows: Number(rows[0]?.rows), broughtBack: 0 };
    return { ...counted, differences: [], identical: false, hasOtherColumns: true };
  }
  const since = table.timeColumn ? retainedSince?.get(liveName) : undefined;
  const { kept, dropped } = sidesOf(table, since);
  const where = `where ${kept}`;
  const { differences } = await compareByKey(client, table, liveName, name, where);
  const { rows: counts } = await client.query<{ rows: string; back: string }>(
    `select (select count(*) from ${name}) as rows,
            greatest(0, (select count(*) from ${name} where ${dropped}) - (select count(*) from ${liveName} where ${dropped})) as back`,
  );
  return {
    rows: Number(counts[0]?.rows),
    ...(since && { since: since.toISOString() }),
    broughtBack: Number(counts[0]?.back),
    differences: [
      ...(await explainDifferences(client, table, liveName, name, differences.slice(0, EXPLAINED), where)),
      ...differences.slice(EXPLAINED),
    ],
    identical: differences.length === 0,
  };
}

/** Creates empty shadow tables; or finds those of an interrupted rebuild, and returns how far it had come. */
async function begin(
  client: pg.Client,
  shadows: ReadonlyMap<Projection, Shadow>,
  projector: string,
  store: ReadableLog,
  total: number,
): Promise<FoldProgress | undefined> {
  const omissions = await loadOmissions(client, projector);
  const bases = new Map(
    [...shadows.keys()].map((projection) => [projection.name, basisOf(projection, omissions.fingerprint)]),
  );
  const names = [...bases.keys()];
  const { rows } = await client.query<{
    projection: string;
    basis: string;
    position: string;
    events: string;
    shadow: string | null;
  }>(
    `select r.projection, r.basis, r.position, r.events, to_regclass(s.name)::text as shadow
       from projection.rebuilds r join unnest($1::text[], $2::text[]) as s (projection, name) using (projection)
      where r.projector = $3`,
    [names, [...shadows.values()].map(({ name }) => name), projector],
  );
  const [first] = rows;
  const canResume =
    first !== undefined &&
    rows.length === names.length &&
    rows.every(
      ({ projection, basis, position, shadow }) =>
        basis === bases.get(projection) && position === first.position && shadow !== null,
    );
  if (canResume) return { position: first.position, events: Number(first.events) };
  for (const shadow of shadows.values()) await createShadow(client, shadow);
  await client.query(
    `insert into projection.rebuilds (projector, projection, basis, position, events, total)
     select $5, b.projection, b.basis, $3, 0, $4 from unnest($1::text[], $2::text[]) as b (projection, basis)
     on conflict (projector, projection) do update
        set basis = excluded.basis, position = excluded.position, events = 0, total = excluded.total,
            started_at = clock_timestamp(), updated_at = clock_timestamp()`,
    [names, [...bases.values()], store.beginning, total, projector],
  );
  return undefined;
}

/** What must be unchanged for a shadow table to be continued. */
const basisOf = ({ version, table }: Projection, omissions: string): string =>
  createHash('sha256')
    .update(JSON.stringify([version, table, omissions]))
    .digest('base64url');

async function record(
  client: pg.ClientBase,
  { projector, names }: ProjectorTables,
  { position, events }: FoldProgress,
  isWhole: boolean,
): Promise<void> {
  // Only this process knows which streams were left out: without a basis no other process continues it.
  await client.query(
    `update projection.rebuilds
        set position = $2, events = $3, total = greatest(total, $3), updated_at = clock_timestamp(),
            basis = case when $4 then basis else '' end
      where projector = $5 and projection = any ($1)`,
    [names, position, events, isWhole, projector],
  );
}

export const forgetRebuild = (client: pg.ClientBase, { projector, names }: ProjectorTables) =>
  client.query(`delete from projection.rebuilds where projector = $1 and projection = any ($2)`, [
    projector,
    names,
  ]);

/** Removes what a rebuild has created so far, when it is cancelled or will not be continued. */
export async function discardRebuild({
  projector,
  projections,
  connectionString,
}: Pick<RebuildOptions, 'projector' | 'projections' | 'connectionString'>): Promise<void> {
  const client = await connectForFold(connectionString, 'waylog rebuild');
  try {
    const names = projections.map(({ name }) => name);
    // The session of the cancelled rebuild may still be ending, and holds its locks until then.
    await retry(() => lockProjections(client, projector, projections, 'rebuild'), {
      attempts: 20,
      baseDelayMs: 50,
      maxDelayMs: 500,
      retryIf: () => true,
    });
    for (const { table } of projections) await dropShadow(client, shadowOf('rebuild', table));
    await forgetRebuild(client, { projector, names });
  } finally {
    await endClient(client);
  }
}
