import { hash, randomBytes } from 'node:crypto';

/** What a key begins with, for people who find one, and for programs that look for secrets where none should be. */
export const KEY_PREFIX = 'wlk_';

/** `wlk_<12 hex digits>_<43 of base64url>` */
const KEY = /^wlk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/;

/** A key in its parts: what it is found by, and what must not be known. */
export interface KeyParts {
  readonly id: string;
  readonly secret: string;
}

/** 48 random bits to be found by, and 256 that nobody guesses. */
export const newKeyParts = (): KeyParts => ({
  id: randomBytes(6).toString('hex'),
  secret: randomBytes(32).toString('base64url'),
});

/** A key as it is handed out and sent: `wlk_0123456789ab_...`. */
export const keyText = ({ id, secret }: KeyParts): string => `${KEY_PREFIX}${id}_${secret}`;

/** The parts of a text; undefined when it is no key. */
export function parseKey(text: string): KeyParts | undefined {
  const [, id, secret] = KEY.exec(text) ?? [];
  return id !== undefined && secret !== undefined ? { id, secret } : undefined;
}

/** What is kept of a secret: 32 bytes. */
export const hashOfSecret = (secret: string): Buffer => hash('sha256', secret, 'buffer');
