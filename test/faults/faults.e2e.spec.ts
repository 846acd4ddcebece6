import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { databaseDown, type DatabaseOptions } from '#lib/timescale';
import { runScenario } from './run-scenario.js';
import { scenarios, type Scenario } from './scenarios.js';
import { eventually } from '../support/eventually.js';

// The short form of the suite. The long one is `npm run test:faults`; docs/explanation/reliability.md has its report.

const SECONDS = 3;

/** Its own database server, because it is stopped, killed and filled up. */
const INSTANCE = 'fault-suite';

const { DATABASE_URL: _, ...env } = process.env;
const instance: DatabaseOptions = { root: process.cwd(), instance: INSTANCE, env };
afterAll(() => databaseDown(instance));

describe('what was acknowledged is there once, in order, and read when asked for, with', () => {
  const reasons = JSON.parse(
    execFileSync(process.execPath, ['dist/test/faults/available.js', INSTANCE], { encoding: 'utf8' }),
  ) as Record<string, string>;
  for (const scenario of scenarios.filter(({ leastSeconds, hasFaults }) => hasFaults && !leastSeconds)) {
    const reason = reasons[scenario.name];
    const possible = reason === undefined ? test : test.skip;
    possible(`${scenario.about}${reason === undefined ? '' : ` (SKIPPED: ${reason})`}`, async () => {
      const seed = Date.now() % 1_000_000;
      const result = await runScenario({ scenario, seconds: SECONDS, seed, instance, say: () => undefined });
      const { verdict, trouble, isLinearizable, kept } = result;
      expect({ seed, kept, isLinearizable, trouble, ...verdict }).toEqual({
        ...{ seed, kept: undefined, isLinearizable: true, trouble: [] },
        ...{ lost: [], doubled: [], uninvited: [], misplaced: [], gaps: [] },
        ...{ disorder: [], stale: [], wrongRows: [], complaints: [] },
      });
    });
  }
});

test('the suite notices when something is wrong after all, and keeps the history', async () => {
  const scenario: Scenario = {
    name: 'forged',
    about: 'a row and an event forged in the database',
    hasFaults: true,
    begin: async (world) => {
      await world.addServer('server', { WAYLOG_VERIFY_SHARE: '0' }).start();
    },
    inject: (world) =>
      world.fault('forged', async () => {
        for (const forgery of [
          `update flight.flights set altitude = 1 where id = 'shared-0' returning 1`,
          `update log.events set metadata = '{"commandId":"forged"}'
            where position = (select max(position) from log.events where type = 'HeadingSaved') returning 1`,
        ])
          // As soon as there is such a row.
          await eventually(async () => (await world.sql(forgery)).length !== 0);
      }),
  };
  const result = await runScenario({ scenario, seconds: 2, seed: 1, instance, say: () => undefined });
  expect(result.isClean).toBe(false);
  expect(result.verdict.wrongRows).toEqual([expect.stringContaining('shared-0')]);
  expect(result.verdict.uninvited).toEqual(['nobody sent forged (HeadingSaved)']);
  expect(result.verdict.lost).toHaveLength(1);
  for (const file of ['history.ndjson', 'register.json', 'result.json', 'server.log'])
    expect(existsSync(join(result.kept ?? '', file))).toBe(true);
  rmSync(result.kept ?? '', { recursive: true });
});
