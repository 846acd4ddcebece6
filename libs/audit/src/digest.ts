import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';
import { WaylogError, type Timestamp } from '#lib/platform';
import type { Head } from './chain.js';
import type { AuditProblem } from './explain.js';

/** How much of the log was walked, from its rows, before a digest was signed. */
export interface WalkStatement {
  /** How far the current lap has come within the events that this digest covers. */
  readonly digest: number;
  /** When that lap began. */
  readonly began: Timestamp;
  /** The time since which every event up to the digest's position has been walked at least once. */
  readonly since: Timestamp;
}

/** A break in the log that an operator has recorded as known, with everything that identifies it. */
export interface KnownBreak {
  readonly by: string;
  readonly why: string;
  readonly problems: readonly AuditProblem[];
  /** The streams whose chains do not hold: the hash over their rows up to a revision, as they were found. */
  readonly streams: readonly { readonly streamId: string; readonly upTo: number; readonly found: string }[];
  /** The other findings. */
  readonly marks: readonly string[];
}

/** The statement of a digest: the heads of all chains at a position. */
export interface DigestStatement {
  readonly format: 'waylog digest 1' | 'waylog digest 2';
  /** 1, 2, 3, ... */
  readonly number: number;
  readonly takenAt: Timestamp;
  /** The last position that it covers. */
  readonly position: string;
  /** How many streams have grown since the digest before; with a break, how many there are. */
  readonly streams: number;
  /** SHA-256 over the heads of those streams, hexadecimal. */
  readonly heads: string;
  /** SHA-256 of the document of the digest before, hexadecimal; null for the first. */
  readonly previous: string | null;
  /** Not in format 1. */
  readonly walk?: WalkStatement;
  readonly break?: KnownBreak;
}

/** A digest with its signature. `document` is the statement as JSON, exactly as signed. */
export interface Digest {
  readonly number: number;
  readonly document: string;
  /** The id of the signing key: the first 16 hexadecimal digits of the SHA-256 of the public key. */
  readonly keyId: string;
  readonly signature: Buffer;
}

export type Heads = ReadonlyMap<string, Head>;

const sha256 = (text: string | Buffer): string => createHash('sha256').update(text).digest('hex');

export const hashOfDocument = (document: string): string => sha256(document);

/** The hash of heads, whatever their order: a line each, sorted by the bytes of the stream's name. */
export function hashOfHeads(heads: Heads): string {
  const hash = createHash('sha256');
  const names = [...heads.keys()].map((name) => Buffer.from(name)).sort((a, b) => a.compare(b));
  for (const name of names) {
    const { revision, hash: of } = heads.get(name.toString()) as Head;
    hash.update(`${name.toString()}\t${revision}\t${of.toString('hex')}\n`);
  }
  return hash.digest('hex');
}

/** A key that signs digests, and its public half, which verifies them. */
export interface SigningKey {
  readonly keyId: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const keyIdOf = (publicKey: KeyObject): string =>
  sha256(publicKey.export({ type: 'spki', format: 'der' })).slice(0, 16);

/** Reads an Ed25519 private key in PEM. Throws `audit.key-invalid`, which never shows the input. */
export function signingKey(pem: string): SigningKey {
  try {
    const privateKey = createPrivateKey(pem);
    const publicKey = createPublicKey(privateKey);
    refuseOther(privateKey);
    return { keyId: keyIdOf(publicKey), privateKey, publicKey };
  } catch (cause) {
    throw invalidKey('private', cause);
  }
}

const PEM = /-----BEGIN [^-]+-----.*?-----END [^-]+-----/gs;

/**
 * Keys that verify digests, by their ids. Accepts public and private keys in PEM, several in a text too. Throws
 * `audit.key-invalid`.
 */
export function checkingKeys(pems: readonly string[]): ReadonlyMap<string, KeyObject> {
  return new Map(
    pems
      .flatMap((text) => text.match(PEM) ?? [text])
      .map((pem) => {
        try {
          const key = createPublicKey(pem);
          refuseOther(key);
          return [keyIdOf(key), key] as const;
        } catch (cause) {
          throw invalidKey('public', cause);
        }
      }),
  );
}

function refuseOther(key: KeyObject): void {
  if (key.asymmetricKeyType !== 'ed25519') throw new Error(`it is of type ${key.asymmetricKeyType}`);
}

const invalidKey = (which: string, cause: unknown) =>
  new WaylogError(
    'audit.key-invalid',
    'invalid',
    `That is no Ed25519 ${which} key in PEM. Make one with \`waylog audit new-key FILE\`.`,
    {},
    { cause },
  );

/** A new key pair in PEM. */
export function newKeyPair(): {
  readonly privateKey: string;
  readonly publicKey: string;
  readonly keyId: string;
} {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    keyId: keyIdOf(publicKey),
  };
}

/** Signs the statement of the digest after `previous`. */
export function makeDigest(
  key: SigningKey,
  statement: Pick<DigestStatement, 'number' | 'takenAt' | 'position' | 'break'> & {
    readonly changed: Heads;
    readonly walk: WalkStatement;
  },
  previous: Digest | undefined,
): Digest {
  const { number, takenAt, position, changed, walk } = statement;
  const said: DigestStatement = {
    format: 'waylog digest 2',
    number,
    takenAt,
    position,
    streams: changed.size,
    heads: hashOfHeads(changed),
    previous: previous ? hashOfDocument(previous.document) : null,
    walk,
    ...(statement.break && { break: statement.break }),
  };
  const document = JSON.stringify(said);
  return { number, document, keyId: key.keyId, signature: sign(null, Buffer.from(document), key.privateKey) };
}

export type SignatureCheck = 'good' | 'bad' | 'unknown-key';

export function checkSignature(keys: ReadonlyMap<string, KeyObject>, digest: Digest): SignatureCheck {
  const key = keys.get(digest.keyId);
  if (!key) return 'unknown-key';
  return verify(null, Buffer.from(digest.document), key, digest.signature) ? 'good' : 'bad';
}

/** The statement in a document; undefined if it is not one. */
export function statementOf(document: string): DigestStatement | undefined {
  try {
    const said = JSON.parse(document) as Omit<DigestStatement, 'format'> & { readonly format: string };
    return (said.format === 'waylog digest 1' || said.format === 'waylog digest 2') &&
      Number.isSafeInteger(said.number) &&
      /^\d{1,18}$/.test(said.position)
      ? (said as DigestStatement)
      : undefined;
  } catch {
    return undefined;
  }
}
