import { hash, randomBytes } from 'node:crypto';

/** The prefix of a key, for people who find one, and for programs that scan for leaked secrets. */
export const KEY_PREFIX = 'wlk_';

/** `wlk_<12 hex digits>_<43 of base64url>` */
const KEY = /^wlk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/;

/** A key in its parts: the id by which it is found, and its secret. */
export interface KeyParts {
  readonly id: string;
  readonly secret: string;
}

/** 48 random bits for the id, and 256 that cannot be guessed. */
export const newKeyParts = (): KeyParts => ({
  id: randomBytes(6).toString('hex'),
  secret: randomBytes(32).toString('base64url'),
});

/** A key as it is handed out and sent: `wlk_0123456789ab_...`. */
export const keyText = ({ id, secret }: KeyParts): string => `${KEY_PREFIX}${id}_${secret}`;

/** The parts of a text; undefined if it is not a key. */
export function parseKey(text: string): KeyParts | undefined {
  const [, id, secret] = KEY.exec(text) ?? [];
  return id !== undefined && secret !== undefined ? { id, secret } : undefined;
}

/** The stored form of a secret: 32 bytes. */
export const hashOfSecret = (secret: string): Buffer => hash('sha256', secret, 'buffer');
