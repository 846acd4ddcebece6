import { readFileSync } from 'node:fs';
import { messageOf } from '#lib/platform';
import { UsageError } from '#lib/waylog';

/** A password anywhere in a connection string, also in one of a cluster, which names several hosts. */
const holdsPassword = (text: string): boolean =>
  /^[a-z+]+:\/\/[^/?#]*:[^/?#]*@/is.test(text) || /[?&]password=./i.test(text);

/**
 * A connection string as options accept it: a URL without a password; `env:NAME`, the value of a variable; or
 * `file:PATH`, the content of a file. All users of a machine can read the arguments of programs, so a password there is
 * refused.
 *
 * @throws UsageError
 */
export function connectionString(option: string, text: string): string {
  const [, scheme, rest] = /^(env|file):(?!\/\/)(.+)$/s.exec(text) ?? [];
  if (scheme === 'env') {
    const found = process.env[rest ?? ''];
    if (found) return found;
    throw new UsageError(`${option} takes what the variable ${rest ?? ''} says, and that is not set.`);
  }
  if (scheme === 'file') {
    try {
      const found = readFileSync(rest ?? '', 'utf8').trim();
      if (found !== '') return found;
    } catch (error) {
      throw new UsageError(
        `${option} takes what stands in a file, which cannot be read: ${messageOf(error)}.`,
      );
    }
    throw new UsageError(`${option} takes what stands in the file ${rest ?? ''}, and that is empty.`);
  }
  if (!holdsPassword(text)) return text;
  throw new UsageError(
    `${option} holds a password, and everybody on this machine can see what programs were called with. Put the URL into a ` +
      `variable or a file, and say ${option} env:NAME or ${option} file:PATH.`,
  );
}
