import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * log.append_together records requests as log.append does, all of them or none. It answers the same rows; if one is not
 * accepted, none is. In the database and not in a transaction of the caller: a process that stops between two of its
 * statements would hold the lock that every append waits for.
 */
export class AppendTogether1790000029000 implements Migration {
  name = 'AppendTogether1790000029000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create function log.append_together(
        p_streams text, p_expected integer[], p_requests integer[], p_ordinals integer[], p_ids uuid[],
        p_types text, p_versions integer[], p_data text, p_metadata text
      ) returns table (request integer, key bigint, accepted boolean, repeated boolean,
                       first_revision integer, first_position bigint, current_revision integer)
      language plpgsql as $$
      declare
        o record;
        answers jsonb := '[]';
        is_refused boolean := false;
      begin
        begin
          for o in
            select * from log.append(p_streams, p_expected, p_requests, p_ordinals, p_ids, p_types, p_versions, p_data, p_metadata)
          loop
            answers := answers || to_jsonb(o);
            is_refused := is_refused or not o.accepted;
          end loop;
          if is_refused then
            raise exception using errcode = 'WL001', message = 'not all are accepted';
          end if;
        exception when sqlstate 'WL001' then
          -- What was recorded is taken back with this block; variables keep their values.
          answers := (select jsonb_agg(a || '{"accepted": false}') from jsonb_array_elements(answers) a);
        end;
        return query
          select r.request, r.key, r.accepted, r.repeated, r.first_revision, r.first_position, r.current_revision
            from jsonb_to_recordset(answers) as r (request integer, key bigint, accepted boolean, repeated boolean,
                   first_revision integer, first_position bigint, current_revision integer)
           order by r.request;
      end $$`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop function log.append_together`);
  }
}
