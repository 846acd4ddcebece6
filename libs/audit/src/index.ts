export {
  checkingKeys,
  newKeyPair,
  signingKey,
  statementOf,
  type Digest,
  type DigestStatement,
  type KnownBreak,
  type SigningKey,
} from './digest.js';
export { DigestSchedule } from './digest-schedule.js';
export { writeDigestFiles } from './digest-files.js';
export { newestDigest, storedDigests } from './digests.js';
export type { AuditCode, AuditProblem } from './explain.js';
export type { RecordedBreak } from './known-breaks.js';
export { recordBreak, type FoundBreak } from './record-break.js';
export { takeDigest, withOwn, type TakeDigestOptions } from './take-digest.js';
export { verifyAudit, type Answered, type AuditOptions, type AuditResult } from './verify-audit.js';
