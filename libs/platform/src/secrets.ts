import { readFileSync, statSync } from 'node:fs';
import { messageOf, type FieldError } from './errors.js';

/** Variables that hold a secret. */
const SECRETS = [
  'DATABASE_URL',
  'WAYLOG_PROJECTOR_URL',
  'WAYLOG_READER_URL',
  'EVENT_STORE',
  'WAYLOG_ADMIN_KEY',
  'WAYLOG_AUDIT_KEY',
] as const;

/**
 * Variables that can be given as a file instead, by their name with `_FILE` added: secrets, which then are in no
 * process list and in no environment, and long values.
 */
export const FROM_FILES = [...SECRETS, 'WAYLOG_AUDIT_PUBLIC_KEYS'] as const;

type Environment = Readonly<Record<string, string | undefined>>;

export interface Secrets {
  /** The environment, with the contents of the files under the plain names. */
  readonly env: Record<string, string | undefined>;
  /** Files that cannot be read, and secrets that are given twice. */
  readonly errors: readonly FieldError[];
  /** Files that users other than their owner can read. */
  readonly warnings: readonly string[];
}

/** Reads the secrets that are given as files. White space around the content does not count. */
export function readSecrets(environment: Environment): Secrets {
  const env = Object.fromEntries(
    Object.entries(environment).filter(
      ([name]) => !FROM_FILES.some((variable) => name === `${variable}_FILE`),
    ),
  );
  const errors: FieldError[] = [];
  const warnings: string[] = [];
  for (const name of FROM_FILES) {
    const variable = `${name}_FILE`;
    const path = environment[variable];
    if (!path) continue;
    if (env[name]) {
      errors.push({ field: variable, message: `is set, and so is ${name}. Leave one of them out` });
      continue;
    }
    try {
      const secret = readFileSync(path, 'utf8').trim();
      if (secret === '') errors.push({ field: variable, message: `names ${path}, which is empty` });
      else env[name] = secret;
      const { mode } = statSync(path);
      if ((mode & 0o007) !== 0 && isSecret(name)) {
        warnings.push(
          `${path} (${variable}) can be read by everybody on this machine. Do: chmod o-rwx ${path}`,
        );
      }
    } catch (error) {
      errors.push({ field: variable, message: `cannot be read: ${messageOf(error)}` });
    }
  }
  return { env, errors, warnings };
}

/** An environment for a program that Waylog starts: it contains what the program needs, and none of these secrets. */
export const withoutSecrets = (env: Environment): Record<string, string | undefined> =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !isSecret(name.replace(/_FILE$/, ''))));

const isSecret = (name: string): boolean => (SECRETS as readonly string[]).includes(name);
