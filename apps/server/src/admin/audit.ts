import { Controller, Get, Inject, Post } from '@nestjs/common';
import { IsInt, IsString, Min } from 'class-validator';
import pg from 'pg';
import {
  checkingKeys,
  signingKey,
  statementOf,
  storedDigests,
  takeDigest,
  verifyAudit,
  withOwn,
  writeDigestFiles,
  type Digest,
} from '#lib/audit';
import { LOG_POOL, RunningContexts } from '#lib/waylog';
import { conflict, IsTimestamp, Nested, Optional, type Config, type Timestamp } from '#lib/platform';
import { CONFIG } from '../config.js';
import { Answers, Needs, Operation, Tag } from '#lib/rest';
import { Job, Jobs } from './jobs.js';

/** A break in the log that an operator has recorded as known. */
export class KnownBreakInfo {
  /** Who recorded it. */
  @IsString() readonly by!: string;
  @IsString() readonly why!: string;
  /** The findings in words, at most a hundred. */
  @IsString({ each: true }) readonly problems!: readonly string[];
}

/** The heads of all chains at a position, signed. */
export class DigestInfo {
  @IsInt() @Min(1) readonly number!: number;
  @IsTimestamp() readonly takenAt!: Timestamp;
  /** The last position that it covers. */
  @IsString() readonly position!: string;
  /** Streams that had grown since the digest before; with a known break, all streams. */
  @IsInt() @Min(0) readonly streams!: number;
  /** The key that signed it. */
  @IsString() readonly keyId!: string;
  /** When it was signed, every event up to the position had been walked since this time. */
  @Optional() @IsTimestamp() readonly walkedSince?: Timestamp;
  /** The known break: from this digest on the log holds again. */
  @Optional() @Nested(() => KnownBreakInfo) readonly knownBreak?: KnownBreakInfo;
}

export class TakenDigest {
  /** 0 if the log has not grown since the last digest, and nothing was found. */
  @IsInt() @Min(0) readonly taken!: number;
}

/** The proof that the log was not changed: digests of its chains, and the check of the log against them. */
@Tag('admin')
@Controller('v1/admin/audit')
export class AuditController {
  constructor(
    private readonly contexts: RunningContexts,
    @Inject(LOG_POOL) private readonly pool: pg.Pool,
    private readonly jobs: Jobs,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  @Get('digests')
  @Needs('operator')
  @Operation({ summary: 'List the signed digests' })
  @Answers(200, [DigestInfo])
  async digests(): Promise<DigestInfo[]> {
    return (await storedDigests(this.pool)).flatMap(digestInfo).reverse();
  }

  @Post('digests')
  @Needs('admin')
  @Operation({
    summary: 'Take a digest now',
    description:
      'Follows the chains as far as needed and signs how far they hold, beside the digests that the server takes by itself.',
  })
  @Answers(200, TakenDigest)
  async take(): Promise<TakenDigest> {
    refuseOtherLog(this.config);
    const { auditKey, auditPublicKeys, auditFolder, auditRoundDays } = this.config;
    if (auditKey === undefined) {
      throw conflict(
        'audit.no-key',
        'This server has no key to sign digests with. Make one with `waylog audit new-key FILE`, set WAYLOG_AUDIT_KEY_FILE to it and start the server again.',
      );
    }
    const key = signingKey(auditKey);
    const keys = withOwn(key, checkingKeys(auditPublicKeys === undefined ? [] : [auditPublicKeys]));
    const { digest } = await takeDigest(this.pool, key, {
      keys,
      folder: auditFolder,
      vocabulary: this.contexts.vocabulary,
      roundMs: auditRoundDays * 86_400_000,
    });
    if (auditFolder !== undefined) await writeDigestFiles(this.pool, auditFolder, keys);
    return { taken: digest ? 1 : 0 };
  }

  @Post('verifications')
  @Needs('admin')
  @Operation({
    summary: 'Verify the chains',
    description:
      'Follows every chain and compares it with the digests. A job; its result says what was found.',
  })
  @Answers(202, Job)
  verify(): Job {
    refuseOtherLog(this.config);
    const { auditKey, auditPublicKeys, auditFolder } = this.config;
    const pems = [auditKey, auditPublicKeys].filter((pem) => pem !== undefined);
    return this.jobs.start('audit', async (control) => {
      const result = await verifyAudit({
        pool: this.pool,
        keys: checkingKeys(pems),
        digestFolder: auditFolder,
        vocabulary: this.contexts.vocabulary,
        signal: control.signal,
        onProgress: (events, total) => control.report('following the chains', events / total),
      });
      return { ...result };
    });
  }
}

/** EventStoreDB stores no hashes of Waylog. Throws `audit.other-log`. */
function refuseOtherLog({ eventStore }: Pick<Config, 'eventStore'>): void {
  if (eventStore === undefined) return;
  throw conflict(
    'audit.other-log',
    'The log is in EventStoreDB, where events are not chained by Waylog. Chains and digests are for the log in PostgreSQL.',
  );
}

const digestInfo = ({ number, document, keyId }: Digest): DigestInfo[] => {
  const said = statementOf(document);
  return said
    ? [
        {
          number,
          takenAt: said.takenAt,
          position: said.position,
          streams: said.streams,
          keyId,
          ...(said.walk && { walkedSince: said.walk.since }),
          ...(said.break && {
            knownBreak: {
              by: said.break.by,
              why: said.break.why,
              problems: said.break.problems
                .slice(0, 100)
                .map(({ streamId, detail }) => (streamId === undefined ? detail : `${streamId}: ${detail}`)),
            },
          }),
        },
      ]
    : [];
};
