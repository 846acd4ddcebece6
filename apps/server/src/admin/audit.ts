import { Controller, Get, Inject, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { IsInt, IsString, Min } from 'class-validator';
import pg from 'pg';
import {
  checkingKeys,
  signingKey,
  statementOf,
  storedDigests,
  takeDigest,
  verifyAudit,
  writeDigestFiles,
  type Digest,
} from '#lib/audit';
import { flightSealing } from '#lib/flight';
import { conflict, IsTimestamp, type Config, type Timestamp } from '#lib/platform';
import { CONFIG } from '../config.js';
import { Answers } from '../http/answer.js';
import { Job, Jobs } from './jobs.js';

/** Where the chains of all streams stood at a position, signed. */
export class DigestInfo {
  @IsInt() @Min(1) readonly number!: number;
  @IsTimestamp() readonly takenAt!: Timestamp;
  /** The last position that it covers. */
  @IsString() readonly position!: string;
  /** Streams that had grown since the digest before. */
  @IsInt() @Min(0) readonly streams!: number;
  /** The key that has signed it. */
  @IsString() readonly keyId!: string;
}

export class TakenDigest {
  /** 0 when the log has not grown since the last digest. */
  @IsInt() @Min(0) readonly taken!: number;
}

/** The proof that nobody has changed the log: digests of its chains, and the look through them. */
@ApiTags('admin')
@Controller('v1/admin/audit')
export class AuditController {
  constructor(
    private readonly pool: pg.Pool,
    private readonly jobs: Jobs,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  @Get('digests')
  @Answers(200, [DigestInfo])
  async digests(): Promise<DigestInfo[]> {
    return (await storedDigests(this.pool)).flatMap(digestInfo).reverse();
  }

  /** Takes a digest now, beside the daily one. */
  @Post('digests')
  @Answers(200, TakenDigest)
  async take(): Promise<TakenDigest> {
    refuseOtherLog(this.config);
    const { auditKey, auditFolder } = this.config;
    if (auditKey === undefined) {
      throw conflict(
        'audit.no-key',
        'This server has no key to sign digests with. Make one with `waylog audit new-key FILE`, set WAYLOG_AUDIT_KEY_FILE to it and start the server again.',
      );
    }
    const digest = await takeDigest(this.pool, signingKey(auditKey));
    if (auditFolder !== undefined) await writeDigestFiles(this.pool, auditFolder);
    return { taken: digest ? 1 : 0 };
  }

  /** Follows every chain and compares it with the digests. The job's result says what was found. */
  @Post('verifications')
  @Answers(202, Job)
  verify(): Job {
    refuseOtherLog(this.config);
    const { auditKey, auditFolder } = this.config;
    return this.jobs.start('audit', async (control) => {
      const result = await verifyAudit({
        pool: this.pool,
        keys: checkingKeys(auditKey === undefined ? [] : [auditKey]),
        digestFolder: auditFolder,
        erasedBy: flightSealing.erasedBy,
        signal: control.signal,
        onProgress: (events, total) => control.report('following the chains', events / total),
      });
      return { ...result };
    });
  }
}

/** EventStoreDB keeps no hashes of ours. Throws `audit.other-log`. */
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
    ? [{ number, takenAt: said.takenAt, position: said.position, streams: said.streams, keyId }]
    : [];
};
