import { readFile, writeFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import {
  checkingKeys,
  newKeyPair,
  signingKey,
  statementOf,
  storedDigests,
  takeDigest,
  verifyAudit,
  writeDigestFiles,
  type AuditResult,
} from '#lib/audit';
import { flightSealing } from '#lib/flight';
import { messageOf } from '#lib/platform';
import type pg from 'pg';
import { eventStoreOf, print, untilInterrupted, UsageError, withApplicationRole } from '../context.js';
import { withProgress } from '../progress-bar.js';

const keyOption = () =>
  new Option(
    '--key-file <file>',
    'the Ed25519 private key in PEM that signs; without it WAYLOG_AUDIT_KEY or WAYLOG_AUDIT_KEY_FILE',
  );
const folderOption = () =>
  new Option('--digests <folder>', 'where digests are kept as files').env('WAYLOG_AUDIT_DIR');

export function auditCommand(): Command {
  const command = new Command('audit')
    .description('Signed digests of the log: what proves later that nobody has changed it.')
    .addHelpText(
      'after',
      `
The events of each stream are chained by SHA-256. Whoever may do everything with the database can change an event and
make all hashes after it anew; a digest notes where the chains stood, signed with a key that the database has not. A server
takes one a day when WAYLOG_AUDIT_KEY_FILE names a key. Keep the files of WAYLOG_AUDIT_DIR, or a copy of them,
where nobody who administers the database can write.

Examples
  waylog audit new-key /etc/waylog/audit.pem
  waylog audit digest --key-file /etc/waylog/audit.pem --digests /srv/waylog-digests
  waylog verify --audit --public-key /etc/waylog/audit.pem.pub --digests /srv/waylog-digests`,
    );
  command
    .command('new-key')
    .description('Make a key pair: FILE, which only you may read, and FILE.pub, which checks what it signs.')
    .argument('<file>', 'must not exist yet')
    .action(async (file: string, _options, sub: Command) => {
      const { privateKey, publicKey, keyId } = newKeyPair();
      // `wx`: a key that is there is never overwritten, as what it has signed could not be signed again.
      await writeFile(file, privateKey, { mode: 0o600, flag: 'wx' });
      await writeFile(`${file}.pub`, publicKey, { mode: 0o644, flag: 'wx' });
      print(
        sub,
        { keyId, privateKey: file, publicKey: `${file}.pub` },
        `key ${keyId}: ${file} signs, ${file}.pub checks`,
      );
    });
  command
    .command('digest')
    .description('Follow the chains from the last digest on, and sign where they stand now.')
    .addOption(keyOption())
    .addOption(folderOption())
    .action(async ({ keyFile, digests: folder }: { keyFile?: string; digests?: string }, sub: Command) => {
      const pem = keyFile ? await readKey(keyFile) : process.env['WAYLOG_AUDIT_KEY'];
      if (!pem)
        throw new UsageError('--key-file (or WAYLOG_AUDIT_KEY_FILE) names the key that signs the digest.');
      const key = signingKey(pem);
      await withLog(sub, async (pool) => {
        const digest = await untilInterrupted((signal) => takeDigest(pool, key, { signal }));
        const written = !folder ? 0 : await writeDigestFiles(pool, folder);
        const said = digest && statementOf(digest.document);
        print(
          sub,
          { ...(said && { digest: { ...said, keyId: key.keyId } }), filesWritten: written },
          said
            ? `digest ${said.number}: ${said.streams} streams up to position ${said.position}, signed by the key ${key.keyId}`
            : 'no digest: the log has not grown since the last one',
        );
      });
    });
  command
    .command('list')
    .description('The digests in the database, the newest first.')
    .action(async (_options, sub: Command) => {
      const digests = await withLog(sub, (pool) => storedDigests(pool));
      const said = digests.reverse().map(({ number, document, keyId }) => ({
        ...(statementOf(document) ?? { number, takenAt: 'unreadable', position: '?', streams: 0 }),
        keyId,
      }));
      print(
        sub,
        { digests: said },
        said
          .map(
            ({ number, takenAt, position, streams, keyId }) =>
              `${String(number).padStart(6)}  ${takenAt}  up to ${position} · ${streams} streams · key ${keyId}`,
          )
          .join('\n') || 'no digests',
      );
    });
  return command;
}

export interface AuditFlags {
  readonly publicKey?: readonly string[];
  readonly digests?: string;
}

/** The options of `waylog verify --audit`. */
export const auditOptions = (): Option[] => [
  new Option(
    '--audit',
    'follow the hash chain of every stream instead, and compare it with the signed digests',
  ),
  new Option(
    '--public-key <file...>',
    'with --audit: keys that digests were signed by, in PEM (the public half of WAYLOG_AUDIT_KEY_FILE)',
  ),
  folderOption(),
];

/** `waylog verify --audit`: exit code 3 when something is not as it was recorded. */
export async function runAudit(
  { publicKey = [], digests: digestFolder }: AuditFlags,
  command: Command,
): Promise<void> {
  const own = process.env['WAYLOG_AUDIT_KEY'];
  const given = await Promise.all(publicKey.map(readKey));
  const keys = checkingKeys(given.length > 0 || !own ? given : [own]);
  const result = await withLog(command, (pool) =>
    untilInterrupted((signal) =>
      withProgress('following the chains', 1, (onProgress) =>
        verifyAudit({
          pool,
          keys,
          digestFolder: digestFolder || undefined,
          erasedBy: flightSealing.erasedBy,
          signal,
          onProgress,
        }),
      ),
    ),
  );
  print(command, result, auditLines(result, keys.size).join('\n'));
  if (!result.isSound) process.exitCode = 3;
}

function auditLines(result: AuditResult, keys: number): string[] {
  const { events, streams, digests, signed, vouchedPosition, vouchedAt, problems } = result;
  return [
    ...problems.map(
      ({ code, streamId, revision, detail }) =>
        `${code.padEnd(17)} ${[streamId, revision !== undefined && `revision ${revision}`].filter(Boolean).join(' ')}${streamId ? ': ' : ''}${detail}`,
    ),
    `followed ${events} events of ${streams} streams: ${problems.length === 0 ? 'every chain holds' : `${problems.length} problems`}`,
    digests === 0
      ? 'there are no digests: whoever made all hashes of a stream anew would not be found (`waylog audit --help`)'
      : keys === 0
        ? `${digests} digests agree with it as far as named above; their signatures were NOT checked, as no key was given (--public-key)`
        : `${signed} of ${digests} digests carry a good signature` +
          (vouchedPosition ? `; vouched for up to position ${vouchedPosition}, ${vouchedAt}` : ''),
  ];
}

async function readKey(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageError(`The key cannot be read: ${messageOf(error)}`);
  }
}

/** Runs `work` on a database whose log is its own. */
function withLog<T>(command: Command, work: (pool: pg.Pool) => Promise<T>): Promise<T> {
  if (eventStoreOf(command) !== undefined) {
    throw new UsageError(
      'The log is in EventStoreDB, where events are not chained by Waylog: chains and digests are for the log in PostgreSQL.',
    );
  }
  return withApplicationRole(command, work);
}
