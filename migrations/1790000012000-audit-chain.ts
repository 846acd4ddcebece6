import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';
import { APPEND_LOCK, appendExpectedFunction, appendFunction } from './1790000001000-event-log.js';

/**
 * Chains the events of each stream by SHA-256, and stores signed digests of the heads of the chains.
 *
 * The hash of an event is that of the hash before it and of its canonical form (`log.canonical`): its position,
 * revision, id, type, schema version, time of recording in microseconds since 1970, metadata and data, as they are in
 * the row. The first event of a stream follows the hash of the stream's name. Whoever changes a row, with any rights,
 * must compute all hashes after it again, and these then differ from those that the digests have signed.
 */
export class AuditChain1790000012000 implements Migration {
  name = 'AuditChain1790000012000';
  /** Every event is copied into a new table. */
  rewrites = 'the log';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(chainFunctions);
    // Not an update of every row, which would leave the table at twice its size.
    await runner.query(`alter table log.events rename to events_unchained`);
    await runner.query(`
      create table log.events (
        position bigint not null,
        stream_key bigint not null,
        revision integer not null,
        id uuid not null,
        type text not null,
        schema_version integer not null,
        recorded_at timestamptz not null,
        data json not null,
        metadata json not null,
        hash bytea not null
      )`);
    await runner.query(`
      insert into log.events
      select e.position, e.stream_key, e.revision, e.id, e.type, e.schema_version, e.recorded_at, e.data, e.metadata,
             log.chain(log.genesis(coalesce(s.stream_id, '')),
                       log.canonical(e.position, e.revision, e.id, e.type, e.schema_version,
                                     (extract(epoch from e.recorded_at) * 1000000)::bigint, e.metadata::text, e.data::text))
               over (partition by e.stream_key order by e.revision rows unbounded preceding)
        from log.events_unchained e
        left join log.streams s using (stream_key)
       order by e.position`);
    await runner.query(`drop table log.events_unchained`);
    await runner.query(`
      alter table log.events
        add constraint events_pkey primary key (position),
        add constraint events_stream_key_revision_key unique (stream_key, revision),
        add constraint events_revision_check check (revision >= 0),
        add constraint events_schema_version_check check (schema_version > 0)`);
    await runner.query(chainedAppendFunction);
    await runner.query(chainedAppendExpectedFunction);
    await runner.query(`
      create table log.digests (
        number integer primary key check (number > 0),
        -- What is signed, to the letter: JSON on one line.
        document text not null,
        key_id text not null,
        signature bytea not null
      )`);
    await runner.query(`
      create table log.digest_heads (
        -- The streams that had grown since the digest before.
        digest integer not null,
        stream_id text not null,
        revision integer not null,
        hash bytea not null,
        primary key (digest, stream_id)
      )`);
    await runner.query(`create index on log.digest_heads (stream_id, digest desc)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table log.digest_heads, log.digests`);
    await runner.query(appendFunction);
    await runner.query(appendExpectedFunction);
    await runner.query(`alter table log.events drop column hash`);
    await runner.query(`drop aggregate log.chain (bytea, text)`);
    await runner.query(`drop function log.link, log.genesis, log.canonical`);
  }
}

/**
 * log.chain(before, event) is a running hash over the events of a stream. Types and metadata hold no newline
 * (log.append separates them by those), and the data comes last, so no two events have the same canonical form.
 */
const chainFunctions = `
  create function log.genesis(stream_id text) returns bytea
    language sql immutable parallel safe
    return sha256(convert_to('waylog stream ' || stream_id, 'UTF8'));

  -- One concat_ws, and the time as a number that is made once a call: six times as fast as putting it together with ||.
  create function log.canonical(
    "position" bigint, revision integer, id uuid, type text, schema_version integer, recorded_at_us bigint,
    metadata text, data text
  ) returns text
    language sql stable parallel safe
    return concat_ws(E'\\n', "position", revision, id, type, schema_version, recorded_at_us, metadata, data);

  create function log.link(state bytea, before bytea, event text) returns bytea
    language plpgsql immutable parallel safe as $link$
    begin
      return sha256(coalesce(state, before) || convert_to(event, 'UTF8'));
    end
    $link$;

  create aggregate log.chain(bytea, text) (sfunc = log.link, stype = bytea);`;

/** log.append of migration `event-log`, with the hash of each event. */
export const chainedAppendFunction = `
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
    v_now_us bigint;
  begin
    -- Each statement below must see what was committed before the lock was granted.
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'log.append must run in a read committed transaction, not %', current_setting('transaction_isolation');
    end if;

    -- The lock that makes position order commit order: held from before the head is read until the transaction ends.
    -- Whoever gets it sees every event that has a smaller position, and so does every reader that sees this one's.
    perform pg_advisory_xact_lock(${APPEND_LOCK});

    v_now := date_trunc('milliseconds', clock_timestamp());
    v_now_us := extract(epoch from v_now) * 1000000;

    insert into log.streams (stream_id)
    select distinct s.stream_id
      from string_to_table(p_streams, E'\\n') as s (stream_id)
     where not exists (select from log.streams known where known.stream_id = s.stream_id)
        on conflict do nothing;

    select coalesce(max(e.position), 0) into v_head from log.events e;

    return query
    with requests as materialized (
      select r.n::integer as n, k.stream_key, k.stream_id, r.expected,
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
      select c.n, c.stream_key, c.stream_id, c.current, c.earlier,
             c.earlier is not null and not exists (
               select from incoming i
                 left join log.events e on e.stream_key = c.stream_key and e.revision = c.earlier + i.ordinal
                where i.n = c.n and e.id is distinct from i.id) as is_repeat,
             c.expected = c.current or c.expected = -2 or (c.expected = -3 and c.current >= 0) as is_expected
        from candidates c
    ), accepted_requests as materialized (
      select j.n, j.stream_key, j.current,
             case when j.current < 0 then log.genesis(j.stream_id)
                  else (select e.hash from log.events e where e.stream_key = j.stream_key and e.revision = j.current)
             end as before
        from judged j
       where j.is_expected and not j.is_repeat
    ), numbered as (
      select v_head + row_number() over (order by i.n, i.ordinal) as position, a.stream_key, a.before,
             a.current + 1 + i.ordinal as revision, i.id, i.type, i.version, i.data, i.metadata
        from incoming i
        join accepted_requests a using (n)
    ), recorded as (
      insert into log.events (position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata, hash)
      select i.position, i.stream_key, i.revision, i.id, i.type, i.version, v_now, i.data::json, i.metadata::json,
             log.chain(i.before, log.canonical(i.position, i.revision, i.id, i.type, i.version, v_now_us, i.metadata, i.data))
               over (partition by i.stream_key order by i.revision rows unbounded preceding)
        from numbered i
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

/** log.append_expected of migration `event-log`, with the hash of each event. */
export const chainedAppendExpectedFunction = `
  create or replace function log.append_expected(
    p_keys bigint[], p_expected integer[],
    p_event_keys bigint[], p_revisions integer[], p_ids uuid[], p_types text, p_versions integer[],
    p_data text, p_metadata text
  ) returns bigint
  language plpgsql volatile as $append$
  declare
    v_head bigint;
    v_moved boolean;
    v_hashes bytea[];
    v_now timestamptz;
    v_now_us bigint;
  begin
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'log.append_expected must run in a read committed transaction, not %', current_setting('transaction_isolation');
    end if;
    perform pg_advisory_xact_lock(${APPEND_LOCK});
    v_now := date_trunc('milliseconds', clock_timestamp());
    v_now_us := extract(epoch from v_now) * 1000000;

    -- The end of each stream is looked for from the expected revision on: "order by revision desc limit 1" alone reads the
    -- whole last index page of the stream, and cost more than a quarter of the call.
    select (select coalesce(max(e.position), 0) from log.events e),
           coalesce(bool_or(r.expected is distinct from last.revision), false),
           array_agg(last.hash order by r.n)
      into v_head, v_moved, v_hashes
      from unnest(p_keys, p_expected) with ordinality as r (key, expected, n)
      left join lateral (
        select e.revision, e.hash from log.events e
         where e.stream_key = r.key and e.revision >= r.expected
         order by e.revision desc limit 1) as last on true;
    if v_moved then
      return null;
    end if;

    insert into log.events (position, stream_key, revision, id, type, schema_version, recorded_at, data, metadata, hash)
    select v_head + i.n, i.key, i.revision, i.id, i.type, i.version, v_now, i.data::json, i.metadata::json,
           log.chain(before.hash,
                     log.canonical(v_head + i.n, i.revision, i.id, i.type, i.version, v_now_us, i.metadata, i.data))
             over (partition by i.key order by i.revision rows unbounded preceding)
      from rows from (unnest(p_event_keys), unnest(p_revisions), unnest(p_ids), string_to_table(p_types, E'\\n'),
                      unnest(p_versions), string_to_table(p_data, E'\\n'), string_to_table(p_metadata, E'\\n'))
           with ordinality as i (key, revision, id, type, version, data, metadata, n)
      join unnest(p_keys, v_hashes) as before (key, hash) using (key);
    return v_head;
  end
  $append$`;
