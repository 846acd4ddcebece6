import { execFile } from 'node:child_process';

/** The user that a program runs as. Only root can name another user. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

export interface RunOptions {
  readonly as?: Identity | undefined;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

/** A program that failed; `message` is the command and the end of its output. */
export class RunError extends Error {
  override readonly name = 'RunError';
}

/**
 * Runs a program to its end and returns its output. It starts in `/`, because another user may not be allowed to enter
 * the present folder, and in the C locale, because its output is parsed here.
 *
 * @throws RunError if it cannot be started or does not return 0
 */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  options.signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    execFile(
      program,
      args,
      {
        cwd: options.cwd ?? '/',
        env: { ...(options.env ?? process.env), LC_ALL: 'C.UTF-8', LANGUAGE: '' },
        maxBuffer: 64 * 1024 * 1024,
        ...(options.as && { uid: options.as.uid, gid: options.as.gid }),
        ...(options.signal && { signal: options.signal }),
        ...(options.timeoutMs !== undefined && { timeout: options.timeoutMs }),
      },
      (error, stdout, stderr) => {
        if (!error) resolve(stdout);
        else if (options.signal?.aborted) reject(options.signal.reason as Error);
        else
          reject(
            new RunError(`${[program, ...args].join(' ').slice(0, 300)}: ${ending(error, stdout, stderr)}`),
          );
      },
    );
  });
}

/** Whether a program returns 0 in time. */
export const succeeds = (
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<boolean> =>
  run(program, args, options).then(
    () => true,
    () => false,
  );

function ending(error: Error & { killed?: boolean }, stdout: string, stderr: string): string {
  const said = (stderr.trim() || stdout.trim()).split('\n').slice(-12).join('\n');
  return said || (error.killed ? 'no answer in time' : error.message);
}
