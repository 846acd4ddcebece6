import { Command, Option } from 'commander';
import { Webhooks } from '#lib/waylog';
import {
  endWebhook,
  listWebhooks,
  rotateWebhook,
  SIGNINGS,
  type CreatedWebhook,
  type Signing,
  type Webhook,
} from '#lib/webhooks';
import { operator, print, progress, withApplicationRole, withOperations } from '../context.js';
import { table } from '../table.js';

export function webhooksCommand(): Command {
  const webhooks = new Command('webhooks')
    .description('The receivers that events are sent to: list, add, remove, rotate, test.')
    .addHelpText(
      'after',
      `
Each webhook is a reactor called webhook-NAME: \`waylog reactors\` shows how far it has come, pauses it, moves it, and tries again
or discards what failed.`,
    );
  webhooks
    .command('list', { isDefault: true })
    .description('all that have not ended; of none the secret')
    .action(async (_options, command: Command) => {
      const all = await withApplicationRole(command, listWebhooks);
      print(
        command,
        { webhooks: all },
        all.length > 0 ? table(headings, all.map(cells)) : 'there are none: see `waylog webhooks add --help`',
      );
    });
  webhooks
    .command('add')
    .description('send what is recorded from now on to an address; its secret is shown once')
    .argument('<name>', 'lower-case words with hyphens between')
    .argument('<url>', 'where to, with https://')
    .option('--events <names...>', 'categories (order) and types (order.Paid); all without it')
    .addOption(
      new Option('--signing <kind>', 'with a secret that both know, or a private key that stays here')
        .choices([...SIGNINGS])
        .default('hmac'),
    )
    .option(
      '--with-sensitive-fields',
      'send what an erasure would reach, too; it does not reach what was sent',
      false,
    )
    .addHelpText(
      'after',
      `
Standard output is what the receiver verifies signatures with, alone: the secret of HMAC (whsec_...), which is never shown again, or
the public key of Ed25519 (whpk_...).

Only public addresses with https are sent to, and those of networks that WAYLOG_WEBHOOK_NETWORKS names; servers need that variable,
too.`,
    )
    .action(
      async (
        name: string,
        url: string,
        options: { events?: string[]; signing: Signing; withSensitiveFields: boolean },
        command: Command,
      ) => {
        const added = await withOperations(command, (app) =>
          app.get(Webhooks).add({ name, url, ...options }, operator()),
        );
        progress(`webhook ${name} is sent what is recorded from now on. ${toldOnce(added)}`);
        print(command, added, verifier(added));
      },
    );
  webhooks
    .command('remove')
    .description('end one for good; within seconds nothing is sent to it any more')
    .argument('<name>', 'a webhook')
    .action(async (name: string, _options, command: Command) => {
      const ended = await withApplicationRole(command, (pool) => endWebhook(pool, name, operator()));
      print(command, ended, `ended: ${name}`);
    });
  webhooks
    .command('rotate')
    .description('give one a new key; the one before signs as well for 24 hours')
    .argument('<name>', 'a webhook')
    .action(async (name: string, _options, command: Command) => {
      const rotated = await withApplicationRole(command, (pool) => rotateWebhook(pool, name));
      progress(
        `webhook ${name} has a new key; the one before signs as well until ${rotated.previousKeyUntil ?? ''}. ${toldOnce(rotated)}`,
      );
      print(command, rotated, verifier(rotated));
    });
  webhooks
    .command('test')
    .description('send one a message of the type waylog.test from this machine, once')
    .argument('<name>', 'a webhook')
    .action(async (name: string, _options, command: Command) => {
      const { status, error } = await withOperations(command, (app) => app.get(Webhooks).test(name));
      const isTaken = status !== undefined && status >= 200 && status <= 299;
      print(
        command,
        { status, error },
        error !== undefined ? error : isTaken ? `taken: it answered ${status}` : `it answered ${status}`,
      );
      if (!isTaken) process.exitCode = 1;
    });
  return webhooks;
}

const verifier = ({ secret, publicKey }: CreatedWebhook): string => secret ?? publicKey ?? '';

const toldOnce = ({ secret }: CreatedWebhook): string =>
  secret === undefined ? 'Its public key:' : 'Its secret is shown now and never again:';

const headings = ['name', 'url', 'events', 'signing', 'sensitive', 'created', 'by'];

const cells = ({ name, url, events, signing, withSensitiveFields, createdAt, createdBy }: Webhook) => [
  name,
  url,
  events?.join(' ') ?? 'all',
  signing,
  withSensitiveFields ? 'sent' : 'left out',
  createdAt.slice(0, 16).replace('T', ' '),
  createdBy,
];
