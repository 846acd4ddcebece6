import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';
import { APPEND_LOCK } from './1790000001000-event-log.js';
import { chainedAppendExpectedFunction, chainedAppendFunction } from './1790000012000-audit-chain.js';

/**
 * A log can go back: a replica that was behind takes over, or a backup is restored. What is written then begins a new
 * history, at a position that no event of an earlier one can have had.
 */
export class LogHistories1790000023000 implements Migration {
  name = 'LogHistories1790000023000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table log.histories (
        number integer primary key,
        -- The last event of the history before; and what the first of this one comes after. In between is nothing, for good.
        kept_position text not null,
        resumes_after text not null,
        -- log.written_by() where the log is in this database.
        written_by text,
        began_at timestamptz not null default clock_timestamp()
      )`);
    await runner.query(`
      create table log.losses (
        id integer generated always as identity primary key,
        noticed_at timestamptz not null default clock_timestamp(),
        noticed_by text not null,
        -- What is there still of what a process had seen, and what it had seen.
        kept_position text not null,
        seen_position text not null,
        kept_at timestamptz,
        seen_at timestamptz,
        -- At most so many; null where that is not known. The commands are those that whoever noticed it had answered.
        events bigint,
        commands bigint,
        -- [{"streamId", "from": the first revision that is gone, "to"}], as far as is known.
        streams jsonb not null,
        acknowledged_at timestamptz,
        acknowledged_by text,
        acknowledgement text
      )`);
    await runner.query(historyFunctions);
    for (const text of [chainedAppendFunction, chainedAppendExpectedFunction])
      await runner.query(planned(resuming(text)));
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const text of [chainedAppendFunction, chainedAppendExpectedFunction])
      await runner.query(planned(text));
    await runner.query(
      `drop function log.begin_history(bigint, uuid), log.holds(integer, bigint, uuid), log.written_by()`,
    );
    await runner.query(`drop table log.losses, log.histories`);
  }
}

/** As set by migration `append-plans`. */
const planned = (text: string): string => `${text} set plan_cache_mode = force_generic_plan`;

/**
 * An append function of migration `audit-chain`, whose events come after the position from which the last history
 * resumes.
 */
function resuming(text: string): string {
  const head = 'coalesce(max(e.position), 0)';
  const after = `(select max(h.resumes_after::bigint) from log.histories h where h.written_by is not null)`;
  if (text.split(head).length !== 2) throw new Error('the append function does not say where the log ends');
  return text.replace(head, `greatest(max(e.position), ${after}, 0)`);
}

/**
 * log.written_by: the server, its last fail-over, and the database. Another one may lack some of what was there.
 *
 * log.holds: whether the log is in the history that a caller knows, and holds the event that it has seen; a caller that
 * has seen none passes nulls. It is called with every append, and takes some 15 us.
 *
 * log.begin_history: for a caller for which log.holds was false. Finds out which history it is, or begins one; and
 * whether what the caller has seen is there. A history begins at the time in microseconds: no log gets an event per
 * microsecond, so every position that was ever answered is smaller.
 */
const historyFunctions = `
  create function log.written_by() returns text
    language sql volatile as $by$
    select (select c.system_identifier::text from pg_control_system() c)
           || '/' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
           || '/' || (select d.oid::text from pg_database d where d.datname = current_database())
    $by$;

  create function log.holds(p_history integer, p_position bigint, p_id uuid) returns boolean
  language plpgsql volatile as $holds$
  declare
    v_number integer;
    v_written_by text;
  begin
    -- What is to be written is then refused as on any other standby.
    if pg_is_in_recovery() then
      return true;
    end if;
    select h.number, h.written_by into v_number, v_written_by
      from log.histories h where h.written_by is not null order by h.number desc limit 1;
    return coalesce(v_number = p_history and v_written_by = log.written_by(), false)
       and (p_position is null or exists (select from log.events e where e.position = p_position and e.id = p_id));
  end
  $holds$;

  create function log.begin_history(p_position bigint, p_id uuid, out history integer, out kept boolean)
  language plpgsql volatile as $begin$
  declare
    v_last log.histories;
    v_resumes bigint;
    v_head bigint;
    v_head_at timestamptz;
    v_after bigint;
  begin
    perform pg_advisory_xact_lock(${APPEND_LOCK});
    select * into v_last from log.histories h where h.written_by is not null order by h.number desc limit 1;
    v_resumes := coalesce(v_last.resumes_after::bigint, 0);
    select e.position, e.recorded_at into v_head, v_head_at from log.events e order by e.position desc limit 1;
    kept := p_position is null or exists (select from log.events e where e.position = p_position and e.id = p_id);
    history := v_last.number;
    if v_last.written_by = log.written_by() and (kept or p_position <= v_resumes) then
      return;
    end if;
    if v_last is null and kept then
      -- The first that is written down: nobody knows of another before.
      v_after := coalesce(v_head, 0);
    elsif v_head is null and kept then
      v_after := v_resumes;
    else
      v_after := greatest((extract(epoch from date_trunc('milliseconds', clock_timestamp())) * 1000000)::bigint,
                          (extract(epoch from v_head_at) * 1000000)::bigint, v_head + 1, v_resumes + 1, p_position + 1);
    end if;
    history := coalesce((select max(h.number) from log.histories h), 0) + 1;
    insert into log.histories (number, kept_position, resumes_after, written_by)
    values (history, coalesce(v_head, 0)::text, v_after::text, log.written_by());
  end
  $begin$;`;
