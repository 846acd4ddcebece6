import { hostname } from 'node:os';
import { IsArray, IsInt, IsString } from 'class-validator';
import type { ClientBase, Pool } from 'pg';
import {
  databaseCall,
  IsTimestamp,
  notFound,
  Optional,
  readRows,
  timestampFromPostgres,
  type Timestamp,
} from '#lib/platform';
import type { Position } from '../event-store.js';

/** How many streams of a loss are recorded by name. */
const NAMED = 1_000;

/** An end of the log that a process had seen and that was lost: another copy of the log has taken its place. */
export class Loss {
  @IsInt() readonly id!: number;
  @IsTimestamp() readonly noticedAt!: Timestamp;
  /** The machines and the processes that had seen more. */
  @IsString() readonly noticedBy!: string;
  /** The last event that the log still holds, and the last one that had been seen. */
  @IsString() readonly keptPosition!: Position;
  @IsString() readonly seenPosition!: Position;
  /** The lost events were recorded between these times. */
  @Optional() @IsTimestamp() readonly keptAt?: Timestamp;
  @Optional() @IsTimestamp() readonly seenAt?: Timestamp;
  /** The most events that were lost, and the commands that they had answered; undefined if unknown. */
  @Optional() @IsInt() readonly events?: number;
  @Optional() @IsInt() readonly commands?: number;
  /** Streams that have lost events, with the first and the last lost revision, as far as known. */
  @IsArray() readonly streams!: readonly LostRevisions[];
  @Optional() @IsTimestamp() readonly acknowledgedAt?: Timestamp;
  @Optional() @IsString() readonly acknowledgedBy?: string;
  @Optional() @IsString() readonly acknowledgement?: string;
}

export interface LostRevisions {
  readonly streamId: string;
  readonly from: number;
  readonly to: number;
}

export interface NewLoss {
  readonly keptPosition: Position;
  readonly seenPosition: Position;
  /** In milliseconds since 1970. */
  readonly keptAt: number | undefined;
  readonly seenAt: number | undefined;
  readonly events: number | undefined;
  readonly commands: number | undefined;
  readonly streams: readonly LostRevisions[];
}

/** What two processes report, each stream once: both may have answered commands of it. */
const bothSql = `
  select coalesce(jsonb_agg(jsonb_build_object('streamId', id, 'from', first, 'to', last) order by place), '[]')
    from (select s ->> 'streamId' as id, min((s -> 'from')::bigint) as first, max((s -> 'to')::bigint) as last, min(i) as place
            from jsonb_array_elements(l.streams || n.streams) with ordinality as t (s, i) group by 1) both_of_them`;

/**
 * Records a loss, or adds it to what others have noticed of the same loss, while no other process does
 * (`whileOthersWait`).
 */
export async function recordLoss(client: ClientBase, loss: NewLoss): Promise<void> {
  const values = [
    `${hostname()} ${process.pid}`,
    loss.keptPosition,
    loss.seenPosition,
    loss.keptAt ?? null,
    loss.seenAt ?? null,
    loss.events ?? null,
    loss.commands ?? null,
    JSON.stringify(loss.streams.slice(0, NAMED)),
  ];
  // The process that saw more says how far it went; the answered commands add up.
  const { rowCount } = await client.query(
    `with loss as (
       select $1::text as by, $2::text as kept, $3::text as seen, to_timestamp($4::double precision / 1000) as kept_at,
              to_timestamp($5::double precision / 1000) as seen_at, $6::bigint as events, $7::bigint as commands, $8::jsonb as streams)
     update log.losses l
        set noticed_by = l.noticed_by || ', ' || n.by,
            seen_position = case when n.seen_at > l.seen_at or l.seen_at is null then n.seen else l.seen_position end,
            kept_at = greatest(l.kept_at, n.kept_at), seen_at = greatest(l.seen_at, n.seen_at),
            events = greatest(l.events, n.events), commands = l.commands + n.commands,
            streams = case when jsonb_array_length(l.streams) < ${NAMED} then (${bothSql}) else l.streams end
       from loss n
      where l.kept_position = n.kept and l.acknowledged_at is null`,
    values,
  );
  if (rowCount !== 0) return;
  await client.query(
    `insert into log.losses (noticed_by, kept_position, seen_position, kept_at, seen_at, events, commands, streams)
     values ($1, $2, $3, to_timestamp($4::double precision / 1000), to_timestamp($5::double precision / 1000), $6, $7, $8)`,
    values,
  );
}

/** The losses, the last first; `open` leaves out those that an operator has acknowledged. */
export async function losses(
  pool: Pool,
  { open = false }: { readonly open?: boolean } = {},
): Promise<Loss[]> {
  const rows = await readRows(
    pool,
    undefined,
    `select id, noticed_at, noticed_by, kept_position, seen_position, kept_at, seen_at, events, commands, streams,
            acknowledged_at, acknowledged_by, acknowledgement
       from log.losses where not $1 or acknowledged_at is null order by id desc limit 1000`,
    [open],
  );
  return rows.map((row) => {
    const [id, noticedAt, noticedBy, kept, seen, keptAt, seenAt, events, commands, streams, at, by, why] =
      row;
    return {
      id: Number(id),
      noticedAt: timestampFromPostgres(noticedAt as string),
      noticedBy: noticedBy as string,
      keptPosition: kept as string,
      seenPosition: seen as string,
      ...(keptAt && { keptAt: timestampFromPostgres(keptAt) }),
      ...(seenAt && { seenAt: timestampFromPostgres(seenAt) }),
      ...(events && { events: Number(events) }),
      ...(commands && { commands: Number(commands) }),
      streams: JSON.parse(streams as string) as LostRevisions[],
      ...(at && {
        acknowledgedAt: timestampFromPostgres(at),
        acknowledgedBy: by as string,
        acknowledgement: why as string,
      }),
    };
  });
}

/** Records that an operator has acknowledged a loss, with a note. Throws `log.no-such-loss`. */
export async function acknowledgeLoss(
  pool: Pool,
  id: number,
  { by, why }: { readonly by: string; readonly why: string },
): Promise<void> {
  const { rowCount } = await databaseCall(() =>
    pool.query(
      `update log.losses
          set acknowledged_at = coalesce(acknowledged_at, clock_timestamp()),
              acknowledged_by = coalesce(acknowledged_by, $2), acknowledgement = coalesce(acknowledgement, $3)
        where id = $1`,
      [id, by, why],
    ),
  );
  if (rowCount === 0)
    throw notFound('log.no-such-loss', `There is no loss ${id}. \`waylog log losses\` lists them.`, { id });
}
