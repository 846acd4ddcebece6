import type { QueryRunner } from 'typeorm';
import type { Migration } from './migration.js';

/**
 * The types of events that say of a stream that it was erased. Every application that has the log must know them, also
 * one without the context: it would take an erased stream for one that has lost its key. Only the owner writes here:
 * who could, could pass off a lost key as an erasure.
 */
export class ErasingTypes1790000031000 implements Migration {
  name = 'ErasingTypes1790000031000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      `create table log.erasing_types (category text collate "C", type text, primary key (category, type))`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table log.erasing_types`);
  }
}
