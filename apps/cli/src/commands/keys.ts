import { Command, Option } from 'commander';
import { ACCESS_ROLES, createKey, listKeys, revokeKey, type AccessRole, type ApiKey } from '#lib/access';
import { operator, print, progress, withApplicationRole } from '../context.js';
import { table } from '../table.js';
import { timeAfter } from '../times.js';

export function keysCommand(): Command {
  const keys = new Command('keys').description('The keys that let callers in: make, list and revoke them.');
  keys
    .command('create')
    .description('make a key; it is shown once, and only a hash of it is kept')
    .requiredOption('--name <name>', 'who or what it is for; events that come with it name it')
    .addOption(new Option('--role <role>', 'what it may').choices([...ACCESS_ROLES]).makeOptionMandatory())
    .option(
      '--expires <when>',
      'after so long, such as 90d, or at a time, such as 2027-01-01; never without it',
    )
    .addHelpText(
      'after',
      `
Roles, each with all that those before it may:
  reader     queries, the log, SQL that reads, metrics, the API document
  operator   commands and transactions; looking at how the system stands
  admin      all of /v1/admin, keys among it

Standard output is the key alone, so that it can go where it is kept without being seen:
  waylog keys create --name refiner --role operator --expires 90d > refiner.key
  curl -H "Authorization: Bearer $(cat refiner.key)" http://127.0.0.1:3000/v1/flights

Make a new one before the old one expires, and revoke the old one when nobody uses it any more
(\`waylog keys list\` says when each was last used).`,
    )
    .action(
      async (
        { name, role, expires }: { name: string; role: AccessRole; expires?: string },
        command: Command,
      ) => {
        const expiresAt = expires === undefined ? undefined : timeAfter(expires);
        const made = await withApplicationRole(command, (pool) =>
          createKey(pool, { name, role, ...(expiresAt !== undefined && { expiresAt }) }, { by: operator() }),
        );
        progress(
          `key ${made.id} for ${made.name}, ${made.role}, ${made.expiresAt ? `until ${made.expiresAt}` : 'which does not expire'}. It is shown now and never again:`,
        );
        print(command, made, made.key);
      },
    );
  keys
    .command('list', { isDefault: true })
    .description('all keys with their role, expiry and last use; of none the secret')
    .action(async (_options, command: Command) => {
      const all = await withApplicationRole(command, listKeys);
      print(
        command,
        { keys: all },
        all.length > 0
          ? table(headings, all.map(cells))
          : 'there are no keys: see `waylog keys create --help`',
      );
    });
  keys
    .command('revoke')
    .argument('<id>', 'the 12 digits after wlk_; `waylog keys list` shows them')
    .description('end a key for good; servers refuse it within five seconds')
    .action(async (id: string, _options, command: Command) => {
      const key = await withApplicationRole(command, (pool) => revokeKey(pool, id, { by: operator() }));
      print(command, key, `revoked: key ${key.id} (${key.name}, ${key.role})`);
    });
  return keys;
}

const headings = ['id', 'name', 'role', 'state', 'created', 'expires', 'last used'];

const minutes = (time: string | undefined) => time?.slice(0, 16).replace('T', ' ') ?? '-';

const cells = ({ id, name, role, state, createdAt, expiresAt, lastUsedAt }: ApiKey) => [
  id,
  name,
  role,
  state,
  minutes(createdAt),
  minutes(expiresAt),
  minutes(lastUsedAt),
];
