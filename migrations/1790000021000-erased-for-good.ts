import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * An erased stream keeps its row without a key. A process that does not know of the erasure yet finds the row when it
 * would create a key for the stream. Without the row it could not tell a new stream from an erased one in time.
 */
export class ErasedForGood1790000021000 implements Migration {
  name = 'ErasedForGood1790000021000';
  /** Removes keys that were created after an erasure, and must open nothing. */
  rewrites = 'keys of erased flights';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table log.data_keys alter column key drop not null`);
    await runner.query(`comment on column log.data_keys.key is 'null: the stream was erased'`);
    // Also of one that got a new key since, which opens nothing. For a log in EventStoreDB nothing is known here.
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
