import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { WaylogError } from '#lib/platform';
import type { Command } from '#lib/timescale';

/** How to run one of PostgreSQL's programs against a database; `serverTool` of `#lib/timescale` in the main. */
export type FindTool = (url: string, tool: string, args: readonly string[]) => Promise<Command>;

/** A step of a pipeline between two others. */
export type Through = (source: AsyncIterable<Buffer>) => AsyncIterable<Uint8Array>;

/**
 * Runs one of PostgreSQL's programs between streams and waits for its end. An abort ends it.
 *
 * @throws WaylogError `backup.tool-failed` with the end of what it said
 */
export async function runTool(
  { program, args, env }: Command,
  streams: { readonly input?: Readable; readonly output?: readonly (Writable | Through)[] },
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  const child = spawn(program, args, {
    stdio: [streams.input ? 'pipe' : 'ignore', streams.output ? 'pipe' : 'ignore', 'pipe'],
    env: { ...env, LC_ALL: 'C', LANGUAGE: '' },
  });
  const end = () => child.kill('SIGTERM');
  signal?.addEventListener('abort', end);
  let said = '';
  child.stderr?.on('data', (data: Buffer) => {
    said = (said + data.toString()).slice(-4_000);
  });
  const failed = (why: string, cause?: unknown) => {
    signal?.throwIfAborted();
    return new WaylogError(
      'backup.tool-failed',
      'unavailable',
      `${args.find((arg) => arg.startsWith('pg_')) ?? basename(program)} failed: ${said.trim() || why}`,
      {},
      { cause },
    );
  };
  try {
    const ended = once(child, 'close') as Promise<[number | null, string | null]>;
    const work: Promise<unknown>[] = [ended];
    if (streams.input && child.stdin) {
      // A program that ends early closes its input: what it said then tells more than the broken pipe.
      const fed = pipeline(streams.input, child.stdin).catch((error: unknown) => {
        const { code } = Object(error) as { code?: unknown };
        if (code !== 'EPIPE' && code !== 'ERR_STREAM_PREMATURE_CLOSE') {
          child.kill('SIGTERM');
          throw error;
        }
      });
      work.push(fed);
    }
    if (streams.output && child.stdout) {
      // The types know pipelines of streams alone, where any of them may be a function.
      const written = pipeline([child.stdout, ...(streams.output as Writable[])]).catch((error: unknown) => {
        child.kill('SIGTERM');
        throw error;
      });
      work.push(written);
    }
    const results = await Promise.allSettled(work);
    const reasons = results.flatMap((result): unknown[] =>
      result.status === 'rejected' ? [result.reason] : [],
    );
    // A full disk tells more than the program whose output had nowhere to go.
    const ofFile = reasons.find((reason) => isFileError(reason));
    if (ofFile !== undefined) throw ofFile as Error;
    if (reasons.length > 0) throw failed(String(reasons[0]), reasons[0]);
    const [code, by] = await ended;
    if (code !== 0) throw failed(`it ended with ${by ?? `exit code ${code ?? 'unknown'}`}`);
  } finally {
    signal?.removeEventListener('abort', end);
  }
}

const FILE_CALLS = ['open', 'write', 'close', 'fsync', 'rename', 'stat'];

/**
 * Whether a file could not be written, by shape: in a test runner, errors of Node's own are not `instanceof` the test's
 * `Error`. A broken pipe is none: there the other end has gone.
 */
export function isFileError(error: unknown): boolean {
  const { syscall, code } = Object(error) as { syscall?: unknown; code?: unknown };
  return FILE_CALLS.includes(String(syscall)) && code !== 'EPIPE';
}
