import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * Every context has a projector of its own, with tables that can have the same names as another one's. So what is
 * recorded of a table belongs to its projector, and each projector knows which log its tables are folded from: its
 * first event is another one than that of another projector.
 */
export class ProjectorsApart1790000027000 implements Migration {
  name = 'ProjectorsApart1790000027000';

  async up(runner: QueryRunner): Promise<void> {
    for (const table of ['checkpoints', 'rebuilds', 'integrity_findings', 'folded_log'])
      await runner.query(
        `alter table projection.${table} add column projector text not null default 'flight'`,
      );
    await runner.query(
      `update projection.checkpoints set projector = 'frame-minutes' where projection = 'frame_minutes'`,
    );
    for (const table of ['checkpoints', 'rebuilds', 'integrity_findings', 'folded_log'])
      await runner.query(`alter table projection.${table} alter column projector drop default`);
    await runner.query(`
      alter table projection.checkpoints drop constraint checkpoints_pkey, add primary key (projector, projection)`);
    await runner.query(`
      alter table projection.rebuilds drop constraint rebuilds_pkey, add primary key (projector, projection)`);
    await runner.query(`alter table projection.folded_log drop column only_one, add primary key (projector)`);
    await runner.query(`drop index projection.integrity_findings_open`);
    await runner.query(`
      create unique index integrity_findings_open on projection.integrity_findings (projector, projection, key)
       where repaired_at is null and gone_at is null`);
  }

  /** Only the tables of the flight context were known before. */
  async down(runner: QueryRunner): Promise<void> {
    const isKnown = `projector in ('flight', 'frame-minutes')`;
    for (const table of ['checkpoints', 'rebuilds', 'integrity_findings', 'folded_log'])
      await runner.query(`delete from projection.${table} where not (${isKnown})`);
    await runner.query(`drop index projection.integrity_findings_open`);
    await runner.query(`
      create unique index integrity_findings_open on projection.integrity_findings (projection, key)
       where repaired_at is null and gone_at is null`);
    await runner.query(`
      alter table projection.folded_log drop constraint folded_log_pkey, drop column projector,
        add column only_one boolean primary key default true check (only_one)`);
    await runner.query(`
      alter table projection.rebuilds drop constraint rebuilds_pkey, drop column projector, add primary key (projection)`);
    await runner.query(`
      alter table projection.checkpoints drop constraint checkpoints_pkey, drop column projector,
        add primary key (projection)`);
    await runner.query(`alter table projection.integrity_findings drop column projector`);
  }
}
