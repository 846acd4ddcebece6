import { spawn, type ChildProcess } from 'node:child_process';
import { on } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { lead } from '#lib/projections';
import { testDatabase, type TestDatabase } from './support/database.js';

const SILENCE_MS = 3_000;

describe('the lead of a projector', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await testDatabase();
  });
  const children: ChildProcess[] = [];
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    await database.drop();
  });

  /** A process that leads; `says` is its next output. */
  async function leader(name: string) {
    const args = ['dist/test/support/leading-process.js', database.url, name, String(SILENCE_MS)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const lines = on(createInterface(child.stdout), 'line') as AsyncIterator<[string]>;
    const says = async (): Promise<unknown> => ((await lines.next()).value as [string])[0];
    expect(await says()).toBe('leads');
    return { says, kill: (signal: NodeJS.Signals) => child.kill(signal) };
  }

  it('passes from a frozen process to another, and the frozen one notices when it continues', async () => {
    const frozen = await leader('frozen');
    frozen.kill('SIGSTOP');
    try {
      const stop = new AbortController();
      let standby = 0;
      const options = {
        name: 'frozen',
        applicationName: 'waylog test',
        connectionString: database.url,
        standbyIntervalMs: 50,
        onStandby: () => standby++,
        signal: stop.signal,
      };
      let leads = false;
      await lead(options, () => {
        leads = true;
        stop.abort();
        return Promise.resolve();
      });
      expect(leads).toBe(true);
      expect(standby).toBeGreaterThan(0);
    } finally {
      frozen.kill('SIGCONT');
    }
    expect(await frozen.says()).toBe('The connection to the database was lost.');
  });

  it('stays with a process that has nothing to do', async () => {
    const quiet = await leader('quiet');
    const words = new Set<string>();
    // Twice the silence that would cost it the lead.
    while (words.size < 12) {
      const { rows } = await database.pool.query<{ at: string }>(
        `select state_change::text as at from pg_stat_activity where application_name = 'waylog test quiet'`,
      );
      expect(rows).toHaveLength(1);
      words.add(rows[0]?.at ?? '');
      await sleep(50);
    }
    quiet.kill('SIGTERM');
    expect(await quiet.says()).toBe('stopped');
  });
});
