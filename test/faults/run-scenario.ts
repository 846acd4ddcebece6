import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, seededRandom } from '#lib/platform';
import type { DatabaseOptions } from '#lib/timescale';
import { checkRegister } from './check/register.js';
import { checkRun, type Verdict } from './check/check-run.js';
import { gatherEvidence } from './check/evidence.js';
import type { Answers } from './clients.js';
import { History } from './history.js';
import { startLoad, type Acknowledgement } from './load.js';
import { sampleProgress, type Sample } from './sampler.js';
import type { Scenario } from './scenarios.js';
import { World, type Fault } from './world.js';

export interface RunOptions {
  readonly scenario: Scenario;
  /** How long load and faults last; longer on a slow machine, until enough was acknowledged to mean something. */
  readonly seconds: number;
  readonly seed: number;
  /** The database server of this suite alone. */
  readonly instance: DatabaseOptions;
  readonly say: (line: string) => void;
  /** Keep the history of a clean run, too. */
  readonly keep?: boolean;
}

export interface Recovery {
  readonly fault: string;
  /** Milliseconds from the end of the fault to the first command that was sent after it and acknowledged. */
  readonly toAcknowledge: number | undefined;
  /** Until that command was in the tables. */
  readonly toTables: number | undefined;
}

export interface RunResult {
  readonly scenario: string;
  readonly seed: number;
  readonly faults: number;
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
  readonly reads: number;
  readonly registerOperations: number;
  readonly answers: Answers;
  readonly verdict: Verdict;
  readonly isLinearizable: boolean;
  readonly recoveries: readonly Recovery[];
  /** How long a server took to end when it was asked to, in milliseconds. */
  readonly stops: readonly number[];
  /** What else went wrong, in words. */
  readonly trouble: readonly string[];
  readonly isClean: boolean;
  /** Where the history and the output of the servers are kept, if the run was not clean. */
  readonly kept: string | undefined;
}

/** A run with fewer proves nothing. */
const ENOUGH_ACKNOWLEDGED = 100;

/**
 * Time for enough acknowledgements; and after the load for the last answers, for the tables, and for a server to end
 * cleanly.
 */
const ENOUGH_MS = 90_000;
const GIVE_UP_AFTER_MS = 90_000;
const CATCH_UP_MS = 90_000;
const STOP_MS = 30_000;

/** A client that stops after an attempt without an answer leaves a command of unknown outcome. */
const QUITS = 0.005;

/** Runs load and faults in parallel for a while, lets both end, and checks the result. */
export async function runScenario(options: RunOptions): Promise<RunResult> {
  const { scenario, seconds, seed, instance, say } = options;
  const folder = join(
    instance.root,
    '.waylog',
    'faults',
    `${new Date().toISOString().replaceAll(/[:.]/g, '-')}-${scenario.name}-${seed}`,
  );
  mkdirSync(folder, { recursive: true });
  const history = new History(join(folder, 'history.ndjson'));
  const stop = new AbortController();
  const place = (await scenario.place?.(instance)) ?? { instance, leave: () => Promise.resolve() };
  const world = await World.create({ place, history, folder, seed, signal: stop.signal }).catch(
    async (error: unknown) => {
      await place.leave();
      throw error;
    },
  );
  const watched = new AbortController();
  try {
    await scenario.begin(world);
    const answers: Answers = {};
    const wrongAnswers: string[] = [];
    const acknowledgements: Acknowledgement[] = [];
    const enough = new AbortController();
    const giveUp = new AbortController();
    const sampling = sampleProgress(world.url, watched.signal);
    const random = seededRandom(seed);
    const load = await startLoad({
      ...{ history, random, answers, wrongAnswers, quits: QUITS, stop: stop.signal, giveUp: giveUp.signal },
      server: () => world.apiUrl(random),
      onAcknowledged: (acknowledgement) => {
        world.noteAcknowledged();
        if (acknowledgements.push(acknowledgement) === ENOUGH_ACKNOWLEDGED) enough.abort();
      },
    });
    const injecting = scenario.inject(world).catch((error: unknown) => {
      world.trouble.push(
        `The scenario failed: ${error instanceof Error ? (error.stack ?? '') : String(error)}`,
      );
    });
    await sleep(seconds * 1_000);
    await sleep(ENOUGH_MS, undefined, { signal: enough.signal }).then(
      () => world.trouble.push(`Only ${acknowledgements.length} commands were acknowledged.`),
      () => undefined,
    );
    // A fault that has begun is ended; clients see it through.
    stop.abort();
    await injecting;
    const patience = setTimeout(() => giveUp.abort(), GIVE_UP_AFTER_MS);
    await load.done;
    clearTimeout(patience);

    const evidence = await gatherEvidence(world.url, CATCH_UP_MS).catch((error: unknown) => {
      world.trouble.push(messageOf(error));
      return undefined;
    });
    watched.abort();
    const samples = await sampling;
    const stops: number[] = [];
    for (const server of world.servers) {
      if (server.url === undefined) continue;
      const took = await server.stop(STOP_MS);
      if (took === undefined)
        world.trouble.push(`${server.name} did not end within ${STOP_MS} ms of SIGTERM`);
      else stops.push(took);
    }
    const { writes, reads } = history;
    const verdict = evidence && checkRun({ writes, reads }, evidence);
    const register = checkRegister(load.register, load.registerInitial);
    for (const { name, commandId, surprise } of writes)
      if (surprise !== undefined) wrongAnswers.push(`${name} ${commandId}: ${surprise}`);
    const trouble = [
      ...world.trouble,
      ...unique(wrongAnswers),
      ...(world.faults.length === 0 && scenario.hasFaults ? ['No fault was injected.'] : []),
      ...(register.linearizable
        ? []
        : [
            `The history of the register is not linearisable: ${register.longest.length} of ${load.register.length} operations ` +
              `fit, and then none of ${JSON.stringify(register.stuck.slice(0, 5))}`,
          ]),
    ];
    const isClean =
      verdict !== undefined &&
      trouble.length === 0 &&
      Object.values(verdict).every((found: readonly string[]) => found.length === 0);
    const result: RunResult = {
      scenario: scenario.name,
      seed,
      faults: world.faults.length,
      acknowledged: writes.filter(({ outcome }) => outcome === 'acknowledged').length,
      refused: writes.filter(({ outcome }) => outcome === 'refused').length,
      unknown: writes.filter(({ outcome }) => outcome === 'unknown').length,
      reads: reads.length,
      registerOperations: load.register.length,
      answers,
      verdict: verdict ?? nothingKnown,
      isLinearizable: register.linearizable,
      recoveries: world.faults.map((fault) => recoveryFrom(fault, acknowledgements, samples)),
      stops,
      trouble,
      isClean,
      kept: isClean && !options.keep ? undefined : folder,
    };
    await history.close();
    if (result.kept === undefined) {
      rmSync(folder, { recursive: true });
    } else {
      writeFileSync(join(folder, 'register.json'), JSON.stringify(load.register));
      writeFileSync(join(folder, 'result.json'), JSON.stringify(result, null, 2));
      if (!isClean)
        say(`${scenario.name}: NOT CLEAN; its history and what the servers said are in ${folder}`);
    }
    return result;
  } finally {
    watched.abort();
    for (const { name, output } of world.servers)
      if (existsSync(folder)) writeFileSync(join(folder, `${name}.log`), output);
    // The place is cleaned up also when the world does not end well.
    await world.close().finally(() => place.leave());
  }
}

/** Without evidence nothing counts as found, and the trouble says why. */
const nothingKnown: Verdict = {
  ...{ lost: [], doubled: [], uninvited: [], misplaced: [], gaps: [] },
  ...{ disorder: [], stale: [], wrongRows: [], complaints: [] },
};

const unique = (texts: readonly string[]): string[] => [...new Set(texts)].slice(0, 50);

function recoveryFrom(
  fault: Fault,
  acknowledgements: readonly Acknowledgement[],
  samples: readonly Sample[],
): Recovery {
  const first = acknowledgements
    .filter(({ lastSent }) => lastSent > fault.ended)
    .reduce<Acknowledgement | undefined>((a, b) => (a && a.ended <= b.ended ? a : b), undefined);
  if (!first) return { fault: fault.name, toAcknowledge: undefined, toTables: undefined };
  const position = BigInt(first.position);
  const seen = samples.find(({ at, tables }) => at >= first.ended && tables >= position);
  return {
    fault: fault.name,
    toAcknowledge: first.ended - fault.ended,
    toTables: seen && seen.at - fault.ended,
  };
}
