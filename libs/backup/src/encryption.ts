import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { Decrypter, Encrypter } from 'age-encryption';
import { messageOf, shortened, WaylogError } from '#lib/platform';

/**
 * The public keys in a text, with commas between: whom a backup is encrypted for. Each of them alone can decrypt it.
 *
 * @throws WaylogError `backup.recipient-invalid`
 */
export function recipientsOf(text: string): string[] {
  const recipients = [
    ...new Set(
      text
        .split(',')
        .map((part) => part.trim())
        .filter(Boolean),
    ),
  ];
  for (const recipient of recipients) {
    try {
      // Those of hardware (age1tag1...) would do for writing, and Waylog could restore nothing of it.
      if (!/^age1(?!tag)/.test(recipient)) throw new Error('it does not begin with age1');
      new Encrypter().addRecipient(recipient);
    } catch (error) {
      throw new WaylogError(
        'backup.recipient-invalid',
        'invalid',
        /^AGE-SECRET-KEY-/i.test(recipient)
          ? 'One of the recipients is a private key. Give the public one, which begins with age1: `age-keygen -y FILE` says it. Whoever could read the private key here can read backups: make another.'
          : `${JSON.stringify(shortened(recipient, 70))} is no public key of age, such as age1... from age-keygen: ${messageOf(error)}.`,
        {},
        { cause: error },
      );
    }
  }
  return recipients;
}

/** Encrypts what goes through, in pieces of 64 KiB, for a `pipeline`. */
export const encrypting = (recipients: readonly string[]) =>
  async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Uint8Array> {
    const encrypter = new Encrypter();
    for (const recipient of recipients) encrypter.addRecipient(recipient);
    const clear = Readable.toWeb(Readable.from(source, { objectMode: false }));
    yield* (await encrypter.encrypt(clear as never)) as unknown as ReadableStream<Uint8Array>;
  };

/**
 * The private keys in a file of age-keygen: one a line, and comments.
 *
 * @throws WaylogError `backup.identity-invalid`
 */
export async function readIdentities(file: string): Promise<string[]> {
  const refused = (why: string, cause?: unknown) =>
    new WaylogError(
      'backup.identity-invalid',
      'invalid',
      `${file} holds no key of age to decrypt with: ${why}.`,
      {},
      { cause },
    );
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw refused(messageOf(error), error);
  });
  if (/^(age-encryption\.org|-----BEGIN AGE ENCRYPTED FILE)/.test(text))
    throw refused('it is encrypted itself. Decrypt it first, with `age --decrypt`');
  const identities = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith('#'));
  if (identities.length === 0) throw refused('it is empty');
  try {
    for (const identity of identities) new Decrypter().addIdentity(identity);
  } catch (error) {
    // Not what the line says: it may be a key with a slip of the pen.
    throw refused('a line of it is no private key, which begins with AGE-SECRET-KEY-', error);
  }
  return identities;
}

/**
 * What is in an encrypted file, as a stream.
 *
 * @throws WaylogError `backup.wrong-identity`, `backup.not-decrypted`
 */
export async function decrypted(file: string, identities: readonly string[]): Promise<Readable> {
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  const source = createReadStream(file, { highWaterMark: 1 << 18 });
  try {
    const clear = await decrypter.decrypt(Readable.toWeb(source) as never);
    return Readable.fromWeb(clear as never);
  } catch (error) {
    source.destroy();
    const isOther = /no identity matched/.test(messageOf(error));
    throw new WaylogError(
      isOther ? 'backup.wrong-identity' : 'backup.not-decrypted',
      'invalid',
      isOther
        ? `The key does not open ${file}: it is encrypted for others. Its manifest names them; \`age-keygen -y FILE\` says which a key file is for.`
        : `${file} cannot be decrypted: ${messageOf(error)}.`,
      {},
      { cause: error },
    );
  }
}
