import { execFileSync } from 'node:child_process';
import { databaseDown, type DatabaseOptions } from '#lib/timescale';
import { runScenario } from './run-scenario.js';
import { scenarios } from './scenarios.js';

// The short form of the suite. The long one is `npm run test:faults`; docs/explanation/reliability.md has its report.

const SECONDS = 3;

/** A database server of its own, for it is stopped, killed and filled up. */
const INSTANCE = 'fault-suite';

describe('what was acknowledged is there once, in order, and read when asked for, with', () => {
  const { DATABASE_URL: _, ...env } = process.env;
  const instance: DatabaseOptions = { root: process.cwd(), instance: INSTANCE, env };
  afterAll(() => databaseDown(instance));

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
      expect(result.faults).toBeGreaterThan(0);
      expect(result.acknowledged).toBeGreaterThan(20);
      expect(result.registerOperations).toBeGreaterThan(5);
    });
  }
});
