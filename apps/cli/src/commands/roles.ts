import { writeFile } from 'node:fs/promises';
import { Argument, Command } from 'commander';
import { conflict, messageOf, sqlStateOf, withoutCredentials } from '#lib/platform';
import {
  databaseUp,
  foreignCode,
  knownRoles,
  madeAccess,
  queryOn,
  rightsDeviations,
  type Deviation,
  type KnownRole,
  type MadeRole,
} from '#lib/timescale';
import { databaseOptions, print, withClient } from '../context.js';

const KINDS = ['app', 'projector', 'reader'] as const;

export function rolesCommand(): Command {
  const roles = new Command('roles')
    .description(
      'The roles that Waylog works as in the database, and whether they may what they should, and no more.',
    )
    .addHelpText(
      'after',
      `
The owner of the database migrates and backs up, and nothing else works as it. \`waylog migrate\` makes the others:
  DATABASE_app        appends events and reads; cannot change what is recorded
  DATABASE_projector  keeps the tables; cannot write events
  DATABASE_reader     ad-hoc SQL: reads the tables
A server needs the first two, and not the owner.

Examples
  waylog roles                                            who there is, and what is not as it should be
  waylog roles url app --to /run/secrets/waylog-app       for DATABASE_URL_FILE of a server
  waylog roles url projector --to /run/secrets/projector  for its WAYLOG_PROJECTOR_URL_FILE

Exit codes: 0 all rights are as they should be, 1 it cannot be told, 3 they are not.`,
    )
    .action(async (_options, command: Command) => {
      const { url } = await databaseUp(databaseOptions(command));
      const found = await withClient(url, async (client) => {
        const query = queryOn(client);
        return {
          roles: await knownRoles(query),
          deviations: await rightsDeviations(query),
          foreignCode: await foreignCode(query),
        };
      });
      const list = Object.entries(found.roles).map(([role, known]) => ({ role, ...known }));
      const { deviations, foreignCode: foreign } = found;
      const lines = [
        ...list.map(lineOf),
        ...deviations.map(deviationText),
        ...foreign.map((what) => `no migration makes ${what}, and it would run with the rights of others`),
      ];
      print(command, { roles: list, deviations, foreignCode: foreign }, lines.join('\n'));
      if (deviations.length + foreign.length > 0) process.exitCode = 3;
    });
  roles
    .command('url')
    .description('write down how a role that Waylog has made logs in')
    .addArgument(new Argument('<role>', 'whose').choices(KINDS))
    .option('--to <file>', 'a new file that nobody else may read; without it standard output')
    .action(async (role: MadeRole, { to }: { to?: string }, command: Command) => {
      const { url } = await databaseUp(databaseOptions(command));
      const access = madeAccess(url, role);
      // A login that is not the owner's would derive passwords that do not work.
      const isMade =
        access !== undefined &&
        (await withClient(access.url, () => Promise.resolve(true)).catch((error: unknown) => {
          if (/^28/.test(sqlStateOf(error) ?? '')) return false;
          throw error;
        }));
      if (!isMade) {
        throw conflict(
          'roles.not-made',
          `Waylog has made no role ${role} for ${withoutCredentials(url)}, or its password does not follow from this ` +
            `DATABASE_URL. Run this with the owner's, after \`waylog migrate\`.`,
        );
      }
      if (to === undefined) {
        print(command, access, access.url);
        return;
      }
      await writeFile(to, `${access.url}\n`, { mode: 0o600, flag: 'wx' }).catch((error: unknown) => {
        throw conflict('roles.not-written', `${to} cannot be written: ${messageOf(error)}.`);
      });
      print(command, { role: access.role, file: to }, `wrote how ${access.role} logs in to ${to}`);
    });
  return roles;
}

const kinds: Record<KnownRole['kind'], string> = {
  made: 'made by Waylog; its password follows from that of the owner',
  released: 'made by Waylog, and may nothing since its migration was taken back',
  given: 'made by hand for Waylog',
  missing: 'MISSING: `waylog migrate` makes it, or says why not',
  stranger: 'not made for Waylog, and not used',
};

const lineOf = ({ role, name, kind, tooMuch }: KnownRole & { readonly role: string }): string =>
  `${role.padEnd(10)} ${name.padEnd(28)} ${kinds[kind]}${tooMuch === null ? '' : `; it ${tooMuch}`}`;

/** A difference from the expected state, in a sentence. */
export const deviationText = ({ role, table, right, has }: Deviation): string =>
  right === 'ownership'
    ? `${role} does not own ${table}`
    : `${role} may ${has ? '' : 'not '}${right} ${table}, and should${has ? ' not' : ''}`;
