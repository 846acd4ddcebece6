import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * The images whose bytes are kept with the files. Their projection declares the table; the flight's others are made by
 * migrations, and so is this one: programs that know no context migrate and check them together.
 */
export class ImageContents1790000030000 implements Migration {
  name = 'ImageContents1790000030000';
  serviceName = 'flight';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table flight.image_contents (
        flight_id text collate "C" not null,
        frame_id integer not null check (frame_id >= 0),
        sha256 text not null,
        -- A file can be larger than an integer says.
        size double precision not null check (size > 0),
        type text not null,
        stored_at timestamptz not null,
        primary key (flight_id, frame_id)
      )`);
    for (const column of ['sha256', 'size', 'type'])
      await runner.query(`alter table flight.image_contents alter column ${column} set statistics 0`);
    await runner.query(
      `comment on table flight.image_contents is 'The images whose bytes are kept with the files.'`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table flight.image_contents`);
    await runner.query(`delete from projection.checkpoints where projection = 'image_contents'`);
  }
}
