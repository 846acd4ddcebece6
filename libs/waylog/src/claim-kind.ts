import { createHmac } from 'node:crypto';
import { Category, CLAIM, type Claim, type DataKeys } from '#lib/event-store';
import type { WaylogError } from '#lib/platform';

/** What kind of values at most one thing at a time has, such as the names of users. */
export interface ClaimKindOptions {
  /** The context and what the values are: `video.user-name`. Never change it: it is part of what is claimed. */
  readonly name: string;
  /**
   * Which texts are one value. `caseless` (default): the same in NFKC, without white space at the ends and more than one
   * space within, in lower case. `exact`: the same in NFC.
   */
  readonly same?: 'caseless' | 'exact';
  /** A value that was given back is never taken again; default false. */
  readonly isForEver?: boolean;
  /** What a command is refused with that would take the value of another thing. */
  readonly refusal: (value: string) => WaylogError;
}

/** A value of a kind, for a decision to take or to give back. */
export interface ClaimedValue {
  readonly kind: ClaimKind;
  readonly value: string;
}

/** See `ClaimKindOptions`. Declared once, beside the commands that take its values. */
export class ClaimKind {
  constructor(private readonly options: ClaimKindOptions) {
    if (!/^[a-z][a-z0-9_]*\.[a-z][a-z0-9-]*$/.test(options.name))
      throw new Error(
        `${JSON.stringify(options.name)} is no name of a kind of claims, such as video.user-name.`,
      );
  }

  of(value: string): ClaimedValue {
    return { kind: this, value };
  }

  /** The claim of a value. Its name in the log is a hash with a secret, so that nobody finds the value by trying some. */
  claimOf(value: string, secret: Buffer): Claim {
    const { name, isForEver = false, refusal } = this.options;
    const hash = createHmac('sha256', secret).update(this.keyOf(value)).digest('hex');
    return { streamId: claims.streamOf(`${name}-${hash}`), isForEver, refusal: () => refusal(value) };
  }

  /** The same for texts that are one value. */
  keyOf(value: string): string {
    const { name, same = 'caseless' } = this.options;
    // Lower case of some letters is not in NFKC.
    const caseless = () =>
      value.normalize('NFKC').trim().replace(/\s+/g, ' ').toLowerCase().normalize('NFKC');
    return `${name}\n${same === 'exact' ? value.normalize('NFC') : caseless()}`;
  }
}

const claims = new Category(CLAIM);
const SECRET_OF = claims.streamOf('secret');

/** The secret with which the claims of this installation are named: made with the first of them, kept with the keys of streams. */
export async function claimSecret(keys: DataKeys): Promise<Buffer> {
  const secret = (await keys.make([SECRET_OF])).get(SECRET_OF);
  if (!secret)
    throw new Error(
      'The secret of the claims was deleted (log.data_keys, stream claim-secret): values that are taken can no longer be told ' +
        'from others. Bring the row back from a backup.',
    );
  return secret;
}
