import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * A stream that was erased keeps its row without a key. The row is what a process that does not know of the erasure yet
 * meets when it would make the stream a key: where there is none, nobody can tell a new stream from an erased one in time.
 */
export class ErasedForGood1790000021000 implements Migration {
  name = 'ErasedForGood1790000021000';
  /** Takes away keys that were made since an erasure, and should open nothing. */
  rewrites = 'keys of erased flights';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table log.data_keys alter column key drop not null`);
    await runner.query(`comment on column log.data_keys.key is 'null: the stream was erased'`);
    // Also of one that was given a new key since, which opens nothing. Of a log in EventStoreDB nothing is known here.
    await runner.query(`
      insert into log.data_keys (stream_id, key)
      select distinct s.stream_id, null::bytea
        from log.events e join log.streams s using (stream_key)
       where e.type = 'FlightErased'
          on conflict (stream_id) do update set key = null`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`delete from log.data_keys where key is null`);
    await runner.query(`comment on column log.data_keys.key is null`);
    await runner.query(`alter table log.data_keys alter column key set not null`);
  }
}
