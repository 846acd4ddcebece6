import {
  conflict,
  endClient,
  invalidInput,
  messageOf,
  openSession,
  repeatedParameter,
  tlsWeakness,
  unavailable,
} from '#lib/platform';
import { queryOn, type Query } from '../schema/catalog.js';
import { knownRoles, type KnownRole } from './ensure-roles.js';
import { madeAccess, type RoleAccess } from './role-names.js';

/**
 * How a process is connected: the role that appends, the role that keeps the tables, and whether it knows the owner.
 */
export interface DatabaseAccess {
  /** Appends to the log, and reads. */
  readonly app: RoleAccess;
  /** Writes tables, rebuilds them, drops their chunks, and does the other tasks of operators. */
  readonly projector: RoleAccess;
  /** Migrates and makes backups. Undefined in a process that does not know the owner, as in production none should. */
  readonly ownerUrl: string | undefined;
  /** Whether the database has a log. */
  readonly isMigrated: boolean;
  /** What is less safe than it could be, in sentences; empty if nothing is. */
  readonly warnings: readonly string[];
}

interface Login {
  readonly name: string;
  /** Whether there is a log. */
  readonly migrated: boolean;
  /** Can change recorded events: the owner, a superuser, or a role with too many rights. */
  readonly mighty: boolean;
  /** Can keep the tables. */
  readonly projects: boolean;
}

/**
 * Determines the roles to work as. A user that can change recorded events steps down: with the owner's URL the process
 * works as the two roles that `waylog migrate` created, whose passwords derive from the owner's. If those roles cannot
 * be created it works as the owner, and says so. If they exist it never does.
 *
 * @param projectorUrl the login that keeps the tables, if `databaseUrl` is the application role's
 * @throws WaylogError `config.invalid` for an ambiguous URL; `database.owner-at-work` if there are roles that this URL does not lead to;
 *   `database.role-refused` if one of them cannot log in
 */
export async function stepDown(urls: {
  readonly databaseUrl: string;
  readonly projectorUrl?: string | undefined;
}): Promise<DatabaseAccess> {
  const { databaseUrl, projectorUrl } = urls;
  for (const [field, url] of Object.entries({
    DATABASE_URL: databaseUrl,
    WAYLOG_PROJECTOR_URL: projectorUrl,
  })) {
    const repeated = url === undefined ? undefined : repeatedParameter(url);
    if (repeated !== undefined) throw invalidInput([{ field, message: repeated }], 'config.invalid');
  }
  const { login, roles } = await asking(databaseUrl, async (query) => ({
    login: await loginOf(query),
    roles: await knownRoles(query),
  }));
  if (!login.mighty) {
    const projector = projectorUrl === undefined ? undefined : await projectorOf(projectorUrl);
    return {
      app: { role: login.name, url: databaseUrl },
      projector: projector ?? { role: login.name, url: databaseUrl },
      ownerUrl: undefined,
      isMigrated: login.migrated,
      warnings: [
        ...(projector?.warnings ?? []),
        ...(projectorUrl === undefined && login.migrated && !login.projects
          ? [
              `DATABASE_URL logs in as ${login.name}, who may not write the tables, and WAYLOG_PROJECTOR_URL is not set: this process cannot project, rebuild or repair.`,
            ]
          : []),
        ...transportWarnings(databaseUrl, projectorUrl),
      ],
    };
  }
  const asOwner = { role: login.name, url: databaseUrl };
  const isThere = ({ kind }: KnownRole) => kind === 'made' || kind === 'given';
  if (!isThere(roles.app) || !isThere(roles.projector)) {
    return {
      app: asOwner,
      projector: projectorUrl === undefined ? asOwner : await projectorOf(projectorUrl),
      ownerUrl: databaseUrl,
      isMigrated: login.migrated,
      warnings: [
        ...(login.migrated
          ? [
              `This process works as ${login.name}, who may change and delete recorded events: the roles ${roles.app.name} and ${roles.projector.name} are not there. \`waylog migrate\` makes them, or says why not.`,
            ]
          : []),
        ...transportWarnings(databaseUrl, projectorUrl),
      ],
    };
  }
  const app = madeAccess(databaseUrl, 'app');
  const projector = projectorUrl === undefined ? madeAccess(databaseUrl, 'projector') : undefined;
  const isMade = roles.app.kind === 'made' && (projectorUrl !== undefined || roles.projector.kind === 'made');
  if (!app || !isMade || (projectorUrl === undefined && !projector)) {
    throw conflict(
      'database.owner-at-work',
      `DATABASE_URL logs in as ${login.name}, who may change recorded events, and there are roles for the work: ` +
        `${roles.app.name} and ${roles.projector.name}. Their passwords do not follow from it, so give them: DATABASE_URL ` +
        `with ${roles.app.name}, WAYLOG_PROJECTOR_URL with ${roles.projector.name}. The owner is for migrations and backups.`,
      { role: login.name },
    );
  }
  const [, other] = await Promise.all([
    mustLogIn(app),
    projector
      ? mustLogIn(projector).then(() => ({ ...projector, warnings: [] }))
      : projectorOf(projectorUrl ?? ''),
  ]);
  return {
    app,
    projector: { role: other.role, url: other.url },
    ownerUrl: databaseUrl,
    isMigrated: login.migrated,
    warnings: [...other.warnings, ...transportWarnings(databaseUrl, projectorUrl)],
  };
}

const transportWarnings = (...urls: readonly (string | undefined)[]): string[] => [
  ...new Set(
    urls.flatMap((url) => {
      const weakness = url === undefined ? undefined : tlsWeakness(url);
      return weakness === undefined ? [] : [weakness];
    }),
  ),
];

async function projectorOf(url: string): Promise<RoleAccess & { readonly warnings: readonly string[] }> {
  const { name, mighty } = await asking(url, loginOf);
  return {
    role: name,
    url,
    warnings: mighty
      ? [`WAYLOG_PROJECTOR_URL logs in as ${name}, who may change recorded events. Take that from ${name}.`]
      : [],
  };
}

/** If its password, or the owner's, was changed, the message says what to do. */
async function mustLogIn({ role, url }: RoleAccess): Promise<void> {
  try {
    await asking(url, () => Promise.resolve());
  } catch (error) {
    throw unavailable(
      'database.role-refused',
      `The role ${role}, as which this process should work, cannot log in: ${messageOf(error)}. Its password follows from ` +
        `that in DATABASE_URL: run \`waylog migrate\`, which sets it, and start again.`,
      { role },
      error,
    );
  }
}

async function loginOf(query: Query): Promise<Login> {
  const [row] = await query<Login>(`
    select current_user as name,
           exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = 'log' and c.relname = 'events') as migrated,
           (select rolsuper from pg_roles where rolname = current_user)
             or exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                         where n.nspname = 'log' and c.relname = 'events'
                           and has_table_privilege(c.oid, 'update, delete, truncate')) as mighty,
           exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = 'projection' and c.relname = 'checkpoints'
                      and has_table_privilege(c.oid, 'update')) as projects`);
  if (!row) throw new Error('PostgreSQL does not know who is logged in.');
  return row;
}

async function asking<T>(url: string, work: (query: Query) => Promise<T>): Promise<T> {
  const client = await openSession({ connectionString: url, applicationName: 'waylog' });
  try {
    return await work(queryOn(client));
  } finally {
    await endClient(client);
  }
}

/** The error for a task that needs the owner, in a process that does not know the owner. */
export const noOwner = (what: string, instead: string) =>
  conflict(
    'database.no-owner',
    `This process cannot ${what}: that takes the owner of the database, whom it does not know, and should not. ${instead}`,
  );
