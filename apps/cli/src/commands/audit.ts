import { readFile, writeFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import {
  checkingKeys,
  newKeyPair,
  recordBreak,
  signingKey,
  statementOf,
  storedDigests,
  takeDigest,
  verifyAudit,
  withOwn,
  writeDigestFiles,
  type Answered,
  type AuditProblem,
  type AuditResult,
  type SigningKey,
} from '#lib/audit';
import { messageOf, counted } from '#lib/platform';
import type pg from 'pg';
import {
  eventStoreOf,
  operator,
  print,
  untilInterrupted,
  UsageError,
  withApplicationRole,
} from '../context.js';
import { withProgress } from '../progress-bar.js';
import { contexts } from '../../../contexts.js';
import { vocabularyOf } from '#lib/waylog';

const keyOption = () =>
  new Option(
    '--key-file <file>',
    'the Ed25519 private key in PEM that signs; without it WAYLOG_AUDIT_KEY or WAYLOG_AUDIT_KEY_FILE',
  );
const folderOption = () =>
  new Option('--digests <folder>', 'where digests are kept as files').env('WAYLOG_AUDIT_DIR');

const publicKeysOption = () =>
  new Option(
    '--public-key <file...>',
    'keys that earlier digests were signed by, in PEM; without it WAYLOG_AUDIT_PUBLIC_KEYS',
  );

const DAY_MS = 86_400_000;

/** The signing key, and the keys that verify older signatures. */
async function signingKeys({ keyFile, publicKey }: { keyFile?: string; publicKey?: string[] }) {
  const pem = keyFile ? await readKey(keyFile) : process.env['WAYLOG_AUDIT_KEY'];
  if (!pem)
    throw new UsageError('--key-file (or WAYLOG_AUDIT_KEY_FILE) names the key that signs the digest.');
  const key: SigningKey = signingKey(pem);
  return { key, keys: withOwn(key, checkingKeys(await publicKeys(publicKey))) };
}

const publicKeys = async (files: readonly string[] | undefined): Promise<string[]> => {
  const own = process.env['WAYLOG_AUDIT_PUBLIC_KEYS'];
  return files?.length ? Promise.all(files.map(readKey)) : own ? [own] : [];
};

export function auditCommand(): Command {
  const command = new Command('audit')
    .description('Signed digests of the log: what proves later that nobody has changed it.')
    .addHelpText(
      'after',
      `
The events of each stream are chained by SHA-256. Whoever may do everything with the database can change an event and
recompute all hashes after it; a digest notes where the chains stood, signed with a key that the database has not. A server
takes one a day (WAYLOG_AUDIT_INTERVAL) when WAYLOG_AUDIT_KEY_FILE names a key. Keep the files of WAYLOG_AUDIT_DIR, or a copy of them,
where nobody who administers the database can write.

Examples
  waylog audit new-key /etc/waylog/audit.pem
  waylog audit digest --key-file /etc/waylog/audit.pem --digests /srv/waylog-digests
  waylog verify --audit --public-key /etc/waylog/audit.pem.pub --digests /srv/waylog-digests
  waylog audit record-break --why 'disk failure of 2 May, restored from the backup of 1 May' --key-file /etc/waylog/audit.pem`,
    );
  command
    .command('new-key')
    .description('Make a key pair: FILE, which only you may read, and FILE.pub, which checks what it signs.')
    .argument('<file>', 'must not exist yet')
    .action(async (file: string, _options, sub: Command) => {
      const { privateKey, publicKey, keyId } = newKeyPair();
      // `wx`: an existing key is never overwritten, as what it has signed could not be signed again.
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
    .description('Look through the log, and sign where its chains stand now.')
    .addOption(keyOption())
    .addOption(publicKeysOption())
    .addOption(folderOption())
    .action(async (flags: SigningFlags, sub: Command) => {
      const { key, keys } = await signingKeys(flags);
      const folder = flags.digests || undefined;
      await withLog(sub, async (pool) => {
        const { digest } = await untilInterrupted((signal) =>
          takeDigest(pool, key, {
            keys,
            folder,
            vocabulary: vocabularyOf(contexts),
            roundMs: Number(process.env['WAYLOG_AUDIT_ROUND'] || 7) * DAY_MS,
            signal,
          }),
        );
        const written = folder === undefined ? 0 : await writeDigestFiles(pool, folder, keys);
        const said = digest && statementOf(digest.document);
        print(
          sub,
          { ...(said && { digest: { ...said, keyId: key.keyId } }), filesWritten: written },
          said
            ? `digest ${said.number}: ${counted(said.streams, 'stream')} up to position ${said.position}, signed by the key ${key.keyId}`
            : 'no digest: the log has not grown since the last one',
        );
      });
    });
  command
    .command('record-break')
    .description('Record what is not as it was recorded as known, and sign on from there.')
    .requiredOption('--why <text>', 'what happened: every later audit says it')
    .option('--by <name>', 'who says so', operator())
    .option('--findings <fingerprint>', 'what was looked at; without it, it is shown and nothing is recorded')
    .addOption(keyOption())
    .addOption(publicKeysOption())
    .addOption(folderOption())
    .addHelpText(
      'after',
      `
While anything in the log, its digests or its keys is not as it was recorded, no digest is signed. What cannot be mended is
recorded here: first without --findings, which shows what was found and its fingerprint; then again with that fingerprint.
The record is part of the next digest, and signed with it. It covers the rows as they are now and nothing else: what is
changed in them later, or elsewhere, is found as before. \`waylog verify --audit\` names it for ever.

Bring back what can be brought back first: keys from a backup, erasures that were cut off (\`waylog erase\`).

Exit codes: 0 it is recorded, 3 it was shown.`,
    )
    .action(async (flags: BreakFlags, sub: Command) => {
      const { why, by, findings } = flags;
      if (!why.trim() || !by.trim()) throw new UsageError('--why and --by must say something.');
      const { key, keys } = await signingKeys(flags);
      const folder = flags.digests || undefined;
      await withLog(sub, async (pool) => {
        const { problems, fingerprint, digest } = await untilInterrupted((signal) =>
          recordBreak(pool, key, {
            keys,
            folder,
            vocabulary: vocabularyOf(contexts),
            by,
            why,
            findings,
            signal,
          }),
        );
        const written = !digest || folder === undefined ? 0 : await writeDigestFiles(pool, folder, keys);
        const said = digest && statementOf(digest.document);
        print(
          sub,
          {
            problems,
            fingerprint,
            ...(said && { digest: { ...said, keyId: key.keyId } }),
            filesWritten: written,
          },
          [
            ...problems.map(problemLine),
            said
              ? `recorded in digest ${said.number} by ${by}, signed by the key ${key.keyId}: the log holds from position ${said.position} on`
              : `nothing is recorded yet. When this is what is known, say it again with --findings ${fingerprint}`,
          ].join('\n'),
        );
        if (!said) process.exitCode = 3;
      });
    });
  command
    .command('list')
    .description('The digests in the database, the newest first.')
    .action(async (_options, sub: Command) => {
      const digests = await withLog(sub, (pool) => storedDigests(pool));
      const said = digests.reverse().map(({ number, document, keyId }) => ({
        ...(statementOf(document) ?? {
          number,
          takenAt: 'unreadable',
          position: '?',
          streams: 0,
          break: undefined,
        }),
        keyId,
      }));
      print(
        sub,
        { digests: said },
        said
          .map(
            ({ number, takenAt, position, streams, keyId, break: known }) =>
              `${String(number).padStart(6)}  ${takenAt}  up to ${position} · ${counted(streams, 'stream')} · key ${keyId}` +
              (known ? ` · known break, by ${known.by}: ${known.why}` : ''),
          )
          .join('\n') || 'no digests',
      );
    });
  return command;
}

interface SigningFlags {
  readonly keyFile?: string;
  readonly publicKey?: string[];
  readonly digests?: string;
}

interface BreakFlags extends SigningFlags {
  readonly why: string;
  readonly by: string;
  readonly findings?: string;
}

export interface AuditFlags {
  readonly publicKey?: readonly string[];
  readonly digests?: string;
  readonly atLeast?: readonly string[];
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
  new Option(
    '--at-least <position...>',
    'with --audit: positions that somebody was answered, at each of which the log must hold an event; 4711:flight-f1 says of which stream',
  ),
];

/** `waylog verify --audit`: exit code 3 if anything is not as it was recorded. */
export async function runAudit(
  { publicKey = [], digests: digestFolder, atLeast = [] }: AuditFlags,
  command: Command,
): Promise<void> {
  const answered = atLeast.map(answeredPosition);
  const own = [process.env['WAYLOG_AUDIT_KEY'], process.env['WAYLOG_AUDIT_PUBLIC_KEYS']].filter(
    (pem): pem is string => Boolean(pem),
  );
  const keys = checkingKeys(publicKey.length > 0 ? await Promise.all(publicKey.map(readKey)) : own);
  const result = await withLog(command, (pool) =>
    untilInterrupted((signal) =>
      withProgress('following the chains', 1, (onProgress) =>
        verifyAudit({
          pool,
          keys,
          digestFolder: digestFolder || undefined,
          atLeast: answered,
          vocabulary: vocabularyOf(contexts),
          signal,
          onProgress,
        }),
      ),
    ),
  );
  print(command, result, auditLines(result, keys.size).join('\n'));
  if (!result.isSound) process.exitCode = 3;
}

function answeredPosition(text: string): Answered {
  const [, position, streamId] = /^(\d{1,18})(?::(.+))?$/.exec(text) ?? [];
  if (position === undefined)
    throw new UsageError(
      `--at-least takes a position of this log, such as 4711, or 4711:flight-f1, not ${text}.`,
    );
  return { position, streamId };
}

const problemLine = ({ code, streamId, revision, detail }: AuditProblem): string =>
  `${code.padEnd(17)} ${[streamId, revision !== undefined && `revision ${revision}`].filter(Boolean).join(' ')}${streamId ? ': ' : ''}${detail}`;

/** How many problems of a known break are shown; --json has all. */
const SHOWN = 10;

function auditLines(result: AuditResult, keys: number): string[] {
  const { events, streams, digests, signed, vouchedPosition, vouchedAt, problems, problemCount, breaks } =
    result;
  return [
    ...breaks.flatMap(({ digest, recordedAt, position, by, why, problems: known }) => [
      `known break       recorded in digest ${digest} of ${recordedAt} by ${by}: ${why}. The log is taken as it was found up to position ${position}:`,
      ...known.slice(0, SHOWN).map((problem) => `  ${problemLine(problem)}`),
      ...(known.length > SHOWN ? [`  and ${known.length - SHOWN} more`] : []),
    ]),
    ...problems.map(problemLine),
    ...(problemCount > problems.length ? [`and more, ${problemCount} in all`] : []),
    `followed ${counted(events, 'event')} of ${counted(streams, 'stream')}: ` +
      (problemCount > 0
        ? `${problemCount} problems`
        : `every chain holds${breaks.length > 0 ? ', but for the known breaks' : ''}`),
    digests === 0
      ? 'there are no digests: someone who recomputed all hashes of a stream, or cut off its end, would not be found (`waylog audit --help`)'
      : keys === 0
        ? `${digests} digests agree with it as far as named above; their signatures were NOT checked, as no key was given (--public-key)`
        : `${signed} of ${digests} digests carry a good signature; ` +
          (vouchedPosition
            ? `vouched for up to position ${vouchedPosition}, ${vouchedAt}${breaks.length > 0 ? ', but for the known breaks' : ''}`
            : 'nothing is vouched for'),
  ];
}

async function readKey(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageError(`The key cannot be read: ${messageOf(error)}`);
  }
}

/** Runs `work` on a database that holds its own log. */
function withLog<T>(command: Command, work: (pool: pg.Pool) => Promise<T>): Promise<T> {
  if (eventStoreOf(command) !== undefined) {
    throw new UsageError(
      'The log is in EventStoreDB, where events are not chained by Waylog: chains and digests are for the log in PostgreSQL.',
    );
  }
  return withApplicationRole(command, work);
}
