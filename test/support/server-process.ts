import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { TestDatabase } from './database.js';
import { ADMIN_KEY } from './admin-key.js';
import { httpClient, type HttpClient } from './server.js';

export interface ServerProcess extends HttpClient {
  readonly url: string;
  readonly pid: number;
  /** How it ended, once it has: its exit code, or the signal. */
  readonly ended: Promise<number | string>;
  /** Ends it and returns how it ended: its exit code, or the signal. */
  readonly end: (signal: 'SIGKILL' | 'SIGTERM') => Promise<number | string>;
  readonly output: () => string;
  /** Stops reading its output: at the next line the pipe is closed. */
  readonly stopReading: () => void;
}

/** The server as a separate process, built by `npm test`, so that it can be killed. */
export async function serverProcess(
  database: string | Pick<TestDatabase, 'url' | 'eventStore'>,
  env: Record<string, string> = {},
  onOutput: (output: string, child: ChildProcess) => void = () => undefined,
  onSpawn: (child: ChildProcess) => void = () => undefined,
): Promise<ServerProcess> {
  const { url: databaseUrl, eventStore = '' } = typeof database === 'string' ? { url: database } : database;
  const child: ChildProcess = spawn(process.execPath, ['dist/apps/server/src/main.js'], {
    env: {
      ...process.env,
      DATABASE_URL: databaseUrl,
      EVENT_STORE: eventStore,
      PORT: '0',
      HOST: '127.0.0.1',
      WAYLOG_ADMIN_KEY: ADMIN_KEY,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onSpawn(child);
  let output = '';
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
  const url = await new Promise<string>((resolve, reject) => {
    const read = (data: Buffer) => {
      output += data.toString();
      onOutput(output, child);
      const [, found] = /Waylog listens on (\S+)/.exec(output) ?? [];
      if (found) resolve(found);
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    ended.then(() => reject(new Error(`The server ended before it listened:\n${output}`)), reject);
  });
  const howItEnded = ended.then(([code, by]) => by ?? code ?? 'unknown');
  return {
    url,
    pid: child.pid ?? -1,
    ended: howItEnded,
    output: () => output,
    stopReading: () => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    },
    end: (signal) => {
      child.kill(signal);
      return howItEnded;
    },
    ...httpClient(() => url),
  };
}
