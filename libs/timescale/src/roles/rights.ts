/** The roles that a process works as, except for migrations: `app` appends and reads, `projector` keeps the tables. */
export type WorkingRole = 'app' | 'projector';

/** The rights that PostgreSQL can grant on a table. The owner of a table has all of them, and can alter and drop it. */
export type TableRight = 'select' | 'insert' | 'update' | 'delete' | 'truncate' | 'references' | 'trigger';

export interface TableRights {
  readonly app: readonly TableRight[];
  /**
   * `owner`: the tables belong to the projector, because a rebuild replaces them and a retention drops their chunks.
   */
  readonly projector: readonly TableRight[] | 'owner';
}

const may = (rights: string): readonly TableRight[] => rights.split(' ').filter(Boolean) as TableRight[];
const of = (app: string, projector: string): TableRights => ({
  app: may(app),
  projector: projector === 'owner' ? 'owner' : may(projector),
});

/** The rights on tables of the kernel: those that migrations create. */
const kernelRights: Readonly<Record<string, TableRights>> = {
  //                                    app                            projector
  'log.streams': /*                 */ of('select insert', 'select'),
  'log.events': /*                  */ of('select insert', 'select'),
  // A cache of the log: `projections adopt` clears it when the log has moved.
  'log.snapshots': /*               */ of('select insert update delete', 'select delete'),
  // Started and noticed by the processes that write or follow the log; an operator acknowledges a loss.
  'log.histories': /*               */ of('select insert', 'select insert'),
  'log.losses': /*                  */ of('select insert update', 'select insert update'),
  'log.digests': /*                 */ of('select insert', 'select'),
  'log.digest_heads': /*            */ of('select insert', 'select'),
  // Replacing a flight's key with nothing is how its sensitive fields are erased.
  'log.data_keys': /*               */ of('select insert update', ''),
  // Who could write here, could pass off a lost key as an erasure.
  'log.erasing_types': /*           */ of('select', 'select'),

  'access.api_keys': /*             */ of('select insert update', ''),
  // With what signs for them.
  'access.webhooks': /*             */ of('select insert update', ''),

  'projection.checkpoints': /*      */ of('select', 'select insert update delete'),
  'projection.stream_revisions': /* */ of('select', 'select insert update delete'),
  'projection.projectors': /*       */ of('select', 'select insert update delete'),
  'projection.parked_streams': /*   */ of('select', 'select insert update delete'),
  'projection.discarded_events': /* */ of('select', 'select insert update delete'),
  'projection.rebuilds': /*         */ of('select', 'select insert update delete'),
  'projection.integrity_findings': /**/ of('select', 'select insert update delete'),
  'projection.verifications': /*    */ of('select', 'select insert update delete'),
  'projection.generation': /*       */ of('select', 'select update'),
  'projection.contexts': /*         */ of('select', 'select'),
  'projection.folded_log': /*       */ of('select', 'select insert update delete'),
  'projection.reactors': /*         */ of('select', 'select insert update delete'),
  'projection.reactions': /*        */ of('select', 'select insert update delete'),
  'projection.discarded_reactions': /**/ of('select', 'select insert update delete'),
  'projection.sent_deadlines': /*   */ of('select', 'select insert update delete'),

  'timescale.hypertables': /*       */ of('select', 'select insert update delete'),
  'timescale.dropped_ranges': /*    */ of('select', 'select insert update delete'),
  'timescale.known_chunks': /*     */ of('select', 'select insert update delete'),
  'timescale.archival_events': /*   */ of('select', 'select insert update delete'),
  'timescale.archived_chunks': /*   */ of('select', 'select insert update delete'),

  // The working roles register a model; only the owner creates its tables.
  'registry.models': /*             */ of('select', 'select insert update delete'),

  'public.waylog_migrations': /*    */ of('select', 'select'),
};

/** The schemas of a context: its tables, and copies of them while they are rebuilt and verified. */
export const schemasOf = (context: string): readonly string[] => [
  context,
  `rebuild_${context}`,
  `verify_${context}`,
];

/** Schemas that belong to the projector with everything in them. It can create tables there, and nowhere else. */
export const projectorSchemas = (contexts: readonly string[]): readonly string[] =>
  contexts.flatMap(schemasOf);

/**
 * Which role can do what with which table: all of this, and nothing else. `waylog migrate` sets these rights after
 * every run (docs/decisions/0021), and a test checks them in PostgreSQL. A table that a migration creates needs a line
 * here; those of contexts have theirs by their schemas. Tables that do not exist yet are skipped. A name takes
 * precedence over the `*` of its schema.
 */
export const tableRights = (contexts: readonly string[]): Readonly<Record<string, TableRights>> => ({
  ...kernelRights,
  ...Object.fromEntries(
    contexts
      .map(schemasOf)
      .flatMap((schemas) =>
        schemas.map((schema, i) => [`${schema}.*`, of(i === 0 ? 'select' : '', 'owner')] as const),
      ),
  ),
});

type Rights = ReturnType<typeof tableRights>;

/** The rights on a table; undefined for a table that is not Waylog's, such as one that a service has registered. */
export const rightsOn = (rights: Rights, schema: string, table: string): TableRights | undefined =>
  rights[`${schema}.${table}`] ?? rights[`${schema}.*`];

/** The schemas of those tables. */
export const ruledSchemas = (rights: Rights): readonly string[] => [
  ...new Set(Object.keys(rights).map((name) => name.split('.')[0] as string)),
];

/** Schemas that a role can look into: only those in which it has a right. */
export const usesSchema = (rights: Rights, role: WorkingRole, schema: string): boolean =>
  Object.entries(rights).some(([name, of]) => name.startsWith(`${schema}.`) && of[role].length > 0);

/**
 * Functions of PostgreSQL that everyone can call until a superuser's migration revokes them from PUBLIC
 * (reader-role.ts), and that the application role needs: the append's lock, announcements, a setting of one
 * transaction, and the number of sessions. It can end sessions of the reader, of which it is a member, and no others.
 */
export const appFunctions: readonly string[] = [
  'pg_advisory_xact_lock(bigint)',
  'pg_notify(text, text)',
  'set_config(text, text, boolean)',
  'pg_terminate_backend(integer, bigint)',
  'pg_stat_get_activity(integer)',
];
