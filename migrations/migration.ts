import type { MigrationInterface } from 'typeorm';

/** A step of the schema, with its way back. */
export interface Migration extends MigrationInterface {
  /** The context whose tables it creates; default `waylog`. */
  readonly serviceName?: string;
  /** The table whose rows nothing can restore once `down` has dropped it. */
  readonly holdsTheLog?: string;
  /**
   * The data that `up` rewrites and that nothing else can restore, in words, such as `the log`; absent for tables that
   * are folded from it. On a database that holds events a backup is then made first.
   */
  readonly rewrites?: string;
}

export type MigrationClass = new () => Migration;

/** The service of what belongs to no context: the log, the checkpoints. */
export const WAYLOG = 'waylog';

/** A migration and the parts of its name. */
export interface KnownMigration {
  /** As recorded in the database: `FlightDays1790000004000`. */
  readonly name: string;
  /** `1790000004000`; the order is that of these numbers. */
  readonly revision: string;
  /** `flight days` */
  readonly description: string;
  readonly serviceName: string;
  /** Where it is written. */
  readonly sourceFile: string;
  readonly migration: Migration;
}

/** In the order in which they run. */
export const known = (classes: readonly MigrationClass[]): KnownMigration[] =>
  classes
    .map((migrationClass) => {
      const migration = new migrationClass();
      const name = migration.name ?? migrationClass.name;
      const { revision, description } = parseName(name);
      return {
        name,
        revision,
        description,
        serviceName: migration.serviceName ?? WAYLOG,
        sourceFile: `migrations/${revision}-${description.replaceAll(' ', '-')}.ts`,
        migration,
      };
    })
    .sort((a, b) => Number(a.revision) - Number(b.revision));

/** `FlightDays1790000004000` in its parts. */
export function parseName(name: string): { readonly revision: string; readonly description: string } {
  const [, words = name, revision = ''] = /^(.*?)(\d*)$/.exec(name) ?? [];
  return {
    revision,
    description: words.replaceAll(/(?<=[a-z])(?=[A-Z])/g, ' ').toLowerCase(),
  };
}
