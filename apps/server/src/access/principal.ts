import type { AccessRole } from '#lib/access';

/** Who calls. */
export interface Principal {
  /** As events name it: `key:<name>#<id>`, `jwt:<subject>`, or `admin-key`. The same for as long as the caller is the same. */
  readonly actor: string;
  /** Undefined for somebody who is known and may nothing. */
  readonly role: AccessRole | undefined;
  /** The session at the provider of a token (its claim `sid`). */
  readonly session?: string;
}

/** What checking a credential found. */
export interface Checked {
  readonly principal: Principal;
  /** When the credential itself ends, in milliseconds since 1970; undefined for never. */
  readonly expiresAt?: number | undefined;
  /** For how long the finding may be used before it is looked at again, in milliseconds. */
  readonly validMs: number;
  /** The key that it was, for `Access.forgetKey`. */
  readonly keyId?: string;
}
