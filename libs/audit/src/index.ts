export {
  checkingKeys,
  newKeyPair,
  signingKey,
  statementOf,
  type Digest,
  type DigestStatement,
  type SigningKey,
} from './digest.js';
export { storedDigests, writeDigestFiles } from './digests.js';
export type { AuditCode, AuditProblem } from './explain.js';
export { takeDigest } from './take-digest.js';
export { verifyAudit, type AuditOptions, type AuditResult } from './verify-audit.js';
export { DigestSchedule } from './digest-schedule.js';
