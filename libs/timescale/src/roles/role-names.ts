import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import type { WorkingRole } from './rights.js';

/** The roles that Waylog creates for a database. */
export type MadeRole = WorkingRole | 'reader';

/** The login of one of them. */
export interface RoleAccess {
  readonly role: string;
  readonly url: string;
}

const MAX_NAME_BYTES = 63;

/** Such as `<database>_app`; if that is too long, a hash replaces the middle. */
export function roleName(database: string, kind: MadeRole): string {
  const name = `${database}_${kind}`;
  if (Buffer.byteLength(name) <= MAX_NAME_BYTES) return name;
  const end = `_${createHash('sha256').update(database).digest('hex').slice(0, 12)}_${kind}`;
  let start = database;
  while (Buffer.byteLength(start + end) > MAX_NAME_BYTES) start = [...start].slice(0, -1).join('');
  return start + end;
}

/** All of a database, by name. */
export const roleNames = (database: string): string[] =>
  (['app', 'projector', 'reader'] as const).map((kind) => roleName(database, kind));

export const databaseOf = (databaseUrl: string): string => {
  const url = new URL(databaseUrl);
  return decodeURIComponent(url.pathname.slice(1)) || decodeURIComponent(url.username);
};

/**
 * The login of a role that Waylog created. Its password derives from the owner's, so every process that knows the
 * owner's URL knows it, and there is no other secret to keep. undefined if the URL contains no password.
 */
export function madeAccess(ownerUrl: string, kind: MadeRole): RoleAccess | undefined {
  const url = new URL(ownerUrl);
  const password = decodeURIComponent(url.password);
  if (!password) return undefined;
  const role = roleName(databaseOf(ownerUrl), kind);
  url.username = encodeURIComponent(role);
  url.password = createHmac('sha256', password).update(`waylog ${kind} ${role}`).digest('hex');
  return { role, url: url.href };
}

/**
 * The form in which PostgreSQL stores a password. Computed here, so that the password itself is never in a statement or
 * its log.
 */
export function scramVerifier(password: string): string {
  const iterations = 4_096;
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const stored = createHash('sha256').update(hmac('Client Key')).digest('base64');
  const server = hmac('Server Key').toString('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${stored}:${server}`;
}
