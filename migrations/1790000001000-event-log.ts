import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * The log: streams, events and snapshots, and the one function that writes events.
 *
 * Streams and events are only inserted, never updated. So no row is hot, nothing bloats while a long backup holds back
 * vacuum, and the application role needs neither UPDATE nor DELETE on them. A stream's revision is not stored in a
 * column: it is the largest one in the index on (stream_key, revision), and the head of the log is the largest
 * position.
 */
export class EventLog1790000001000 implements Migration {
  name = 'EventLog1790000001000';
  holdsTheLog = 'log.events';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create extension if not exists timescaledb`);
    await runner.query(`create schema log`);
    await runner.query(`
      create table log.streams (
        -- Narrow stand-in for the id in the index of events: a text id there costs a third more per insert.
        stream_key bigint generated always as identity primary key,
        stream_id text not null unique
      )`);
    await runner.query(`
      create table log.events (
        position bigint primary key,
        stream_key bigint not null,
        revision integer not null check (revision >= 0),
        id uuid not null,
        type text not null,
        schema_version integer not null check (schema_version > 0),
        recorded_at timestamptz not null,
        -- json, not jsonb: the very text that was recorded comes back, and is cheaper to write and to read.
        data json not null,
        -- Without commandId where it is the event's id, and without correlationId and causationId where they are the command's.
        metadata json not null,
        unique (stream_key, revision)
      )`);
    await runner.query(`
      create table log.snapshots (
        stream_id text not null,
        version integer not null,
        revision integer not null,
        state text not null,
        taken_at timestamptz not null default clock_timestamp(),
        primary key (stream_id, version)
      )`);
    await runner.query(appendFunction);
    await runner.query(appendExpectedFunction);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop schema log cascade`);
  }
}

/** The lock for numbering events, held until the end of the transaction. */
export const APPEND_LOCK = 7239100402;

/**
 * log.append records the events of several streams in one call and one transaction.
 *
 * Request i is p_streams[i] (names separated by newlines) with p_expected[i]: a revision, or -1 no stream, -2 any, -3
 * stream exists. Event n belongs to request p_requests[n] (from 1) and is the p_ordinals[n]-th of it (from 0). Text
 * lists are separated by newlines, which neither a name nor JSON as JavaScript writes it can contain: splitting them is
 * several times cheaper than array literals with escaped JSON.
 *
 * Returns one row per request: whether it was accepted, whether it had been recorded before (repeated), the first
 * revision and position of its events, and the current revision of the stream if it was refused.
 */
export const appendFunction = `
  create or replace function log.append(
    p_streams text, p_expected integer[],
    p_requests integer[], p_ordinals integer[], p_ids uuid[], p_types text, p_versions integer[],
    p_data text, p_metadata text
  ) returns table (
    request integer, key bigint, accepted boolean, repeated boolean,
    first_revision integer, first_position bigint, current_revision integer
  )
  language plpgsql volatile as $append$
  declare
    v_head bigint;
    v_now timestamptz;
  begin
    -- Each statement below must see what was committed before the lock was granted.
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'log.append must run in a read committed transaction, not %', current_setting('transaction_isolation');
    end if;

    -- The lock that makes position order commit order: held from before the head is read until the transaction ends.
    -- Whoever gets it sees every event that has a smaller position, and so does every reader that sees this one's.
    perform pg_advisory_xact_lock(${APPEND_LOCK});

    v_now := date_trunc('milliseconds', clock_timestamp());

    insert into log.streams (stream_id)
    select distinct s.stream_id
      from string_to_table(p_streams, E'\\n') as s (stream_id)
     where not exists (select from log.streams known where known.stream_id = s.stream_id)
        on conflict do nothing;

    select coalesce(max(e.position), 0) into v_head from log.events e;

    return query
    with requests as materialized (
      select r.n::integer as n, k.stream_key, r.expected,
             coalesce((select e.revision from log.events e
                        where e.stream_key = k.stream_key order by e.revision desc limit 1), -1) as current
        from rows from (string_to_table(p_streams, E'\\n'), unnest(p_expected)) with ordinality as r (stream_id, expected, n)
        join log.streams k using (stream_id)
    ), incoming as materialized (
      select i.request as n, i.ordinal, i.id, i.type, i.version, i.data, i.metadata
        from rows from (unnest(p_requests), unnest(p_ordinals), unnest(p_ids), string_to_table(p_types, E'\\n'),
                        unnest(p_versions), string_to_table(p_data, E'\\n'), string_to_table(p_metadata, E'\\n'))
             as i (request, ordinal, id, type, version, data, metadata)
    ), candidates as (
      -- Where a repeat of this request would stand: right after the expected revision, or, where none is named, at the
      -- event with the id of its first, among the last 1,024 of the stream.
      select r.*,
             case when r.expected >= -1 then case when r.current > r.expected then r.expected + 1 end
                  else (select e.revision from log.events e, incoming i
                         where e.stream_key = r.stream_key and e.revision > r.current - 1024
                           and i.n = r.n and i.ordinal = 0 and e.id = i.id
                         order by e.revision limit 1)
             end as earlier
        from requests r
    ), judged as materialized (
      select c.n, c.stream_key, c.current, c.earlier,
             c.earlier is not null and not exists (
               select from incoming i
                 left join log.events e on e.stream_key = c.stream_key and e.revision = c.earlier + i.ordinal
                where i.n = c.n and e.id is distinct from i.id) as is_repeat,
             c.expected = c.current or c.expected = -2 or (c.expected = -3 and c.current >= 0) as is_expected
        from candidates c
    ), recorded as (
      insert into log.events (position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata)
      select v_head + row_number() over (order by i.n, i.ordinal), j.stream_key, j.current + 1 + i.ordinal,
             i.id, i.type, i.version, v_now, i.data::json, i.metadata::json
        from incoming i
        join judged j on j.n = i.n
       where j.is_expected and not j.is_repeat
      returning stream_key, revision, position
    ), firsts as (
      select recorded.stream_key, min(recorded.revision) as revision, min(recorded.position) as position
        from recorded group by recorded.stream_key
    )
    select j.n,
           j.stream_key,
           j.is_repeat or j.is_expected,
           j.is_repeat,
           case when j.is_repeat then j.earlier else f.revision end,
           case when j.is_repeat
                then (select e.position from log.events e where e.stream_key = j.stream_key and e.revision = j.earlier)
                else f.position end,
           j.current
      from judged j
      left join firsts f using (stream_key)
     order by j.n;
  end
  $append$`;

/**
 * log.append_expected is the fast path of log.append, for streams whose keys the caller knows and whose last revisions
 * it has named exactly: nearly every append. Event n belongs to the stream p_event_keys[n] and gets the revision
 * p_revisions[n]. It returns the position before the first event, and the others follow without a gap; or null, with
 * nothing recorded, if any of the streams is not at its expected revision: log.append then finds out which, and why.
 *
 * It omits the creation of streams, the joins by name, and the search for repeats.
 */
export const appendExpectedFunction = `
  create or replace function log.append_expected(
    p_keys bigint[], p_expected integer[],
    p_event_keys bigint[], p_revisions integer[], p_ids uuid[], p_types text, p_versions integer[],
    p_data text, p_metadata text
  ) returns bigint
  language plpgsql volatile as $append$
  declare
    v_head bigint;
    v_moved boolean;
    v_now timestamptz;
  begin
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'log.append_expected must run in a read committed transaction, not %', current_setting('transaction_isolation');
    end if;
    perform pg_advisory_xact_lock(${APPEND_LOCK});
    v_now := date_trunc('milliseconds', clock_timestamp());

    -- The end of each stream is looked for from the expected revision on: "order by revision desc limit 1" alone reads the
    -- whole last index page of the stream, and cost more than a quarter of the call.
    select coalesce(max(e.position), 0),
           exists (select from unnest(p_keys, p_expected) as r (key, expected)
                    where r.expected is distinct from
                          (select max(e.revision) from log.events e
                            where e.stream_key = r.key and e.revision >= r.expected))
      into v_head, v_moved
      from log.events e;
    if v_moved then
      return null;
    end if;

    insert into log.events (position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata)
    select v_head + i.n, i.key, i.revision, i.id, i.type, i.version, v_now, i.data::json, i.metadata::json
      from rows from (unnest(p_event_keys), unnest(p_revisions), unnest(p_ids), string_to_table(p_types, E'\\n'),
                      unnest(p_versions), string_to_table(p_data, E'\\n'), string_to_table(p_metadata, E'\\n'))
           with ordinality as i (key, revision, id, type, version, data, metadata, n);
    return v_head;
  end
  $append$`;
