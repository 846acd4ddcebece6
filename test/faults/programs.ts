import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import type { Log } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import type { OwnServer } from '../support/own-server.js';

/** How often a test breaks something: at least once in each way, and more with WAYLOG_KILLS. */
export const ROUNDS = Number(process.env['WAYLOG_KILLS'] ?? 6);
const RESTARTS = Math.ceil(ROUNDS / 3);

/** With the log in EventStoreDB only the steps that are others there; all with the log in PostgreSQL. */
export const stepsOf = (log: Log, steps: readonly string[]): readonly string[] =>
  log === 'PostgreSQL' ? steps : steps.filter((step) => / (append|delivery)\b/.test(step));

/** Restarts and crashes a database server in turn, and waits each time until something goes on. */
export async function restartAgainAndAgain(server: OwnServer, goesOn: () => Promise<void>): Promise<void> {
  for (let n = 0; n < RESTARTS; n++) {
    await server.restart(n % 2 === 0 ? 'immediate' : 'fast', Math.random() * 500);
    await goesOn();
  }
}

/** Something else happens while a program stands still. */
export async function whileFrozen(
  child: ChildProcess | undefined,
  meanwhile: () => Promise<void>,
): Promise<void> {
  child?.kill('SIGSTOP');
  await meanwhile();
  child?.kill('SIGCONT');
}

/** Waits until a number has grown by so much. */
export async function untilMore(count: number, now: () => number): Promise<void> {
  const before = now();
  await eventually(() => now() >= before + count, now);
}

const PRELOAD = 'dist/test/faults/preload/stops-at.js';

/** Where a program is killed or frozen, and the how many-th time that it comes there: preload/stops-at.ts. */
interface Stop {
  readonly at: string;
  readonly time: number;
  readonly signal: 'SIGKILL' | 'SIGSTOP';
}

/** Programs of a test that run beside each other until it kills them. They say in lines what they were answered. */
export class Programs {
  /** Those that ended otherwise than by SIGKILL: none may, whatever the test does to what they need. */
  readonly ended: string[] = [];
  readonly #running = new Set<ChildProcess>();
  readonly #frozen = new WeakSet<ChildProcess>();
  readonly #ready = new WeakSet<ChildProcess>();

  constructor(private readonly onLine: (...words: readonly string[]) => void) {}

  /** A program of `test/support`, by its name; it can be told where to stop. */
  start(program: string, args: readonly string[], stop?: Stop): ChildProcess {
    const preload = stop ? ['--import', pathToFileURL(PRELOAD).href] : [];
    const child = spawn(process.execPath, [...preload, `dist/test/support/${program}.js`, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        ...process.env,
        ...(stop && {
          FAULTS_STOP_AT: stop.at,
          FAULTS_STOP_TIME: String(stop.time),
          FAULTS_SIGNAL: stop.signal,
        }),
      },
    });
    this.#running.add(child);
    child.once('exit', (code, signal) => {
      this.#running.delete(child);
      if (signal !== 'SIGKILL') this.ended.push(`${program} ${args.join(' ')}: ${signal ?? code}`);
    });
    createInterface(child.stdout).on('line', (line) => {
      if (line === 'ready') this.#ready.add(child);
      else if (line === 'frozen') this.#frozen.add(child);
      else this.onLine(...line.split(' '));
    });
    return child;
  }

  /**
   * Starts a program that dies at a step, and waits until it has. Throws if it does not come there: then the step has another
   * name by now.
   */
  async dieAt(
    at: string,
    program: string,
    args: readonly string[],
    time = 1 + Math.floor(Math.random() * 3),
  ): Promise<void> {
    const child = this.start(program, args, { at, time, signal: 'SIGKILL' });
    await eventually(
      () => child.exitCode !== null || child.signalCode !== null,
      () => at,
    );
    if (child.signalCode !== 'SIGKILL')
      throw new Error(`Before "${at}" it ended by itself: ${child.signalCode ?? child.exitCode}`);
  }

  /** Starts a program that is frozen at a step, and lets it go on when something else has been done meanwhile. */
  async freezeAt(
    at: string,
    program: string,
    args: readonly string[],
    meanwhile: () => Promise<unknown>,
  ): Promise<ChildProcess> {
    const child = this.start(program, args, { at, time: 1, signal: 'SIGSTOP' });
    await eventually(
      () => this.#frozen.has(child),
      () => at,
    );
    await meanwhile();
    child.kill('SIGCONT');
    return child;
  }

  /** Until all have started: without what they need, they would not. */
  async ready(): Promise<void> {
    await eventually(() => [...this.#running].every((child) => this.#ready.has(child)));
  }

  async killAll(): Promise<void> {
    for (const child of this.#running) child.kill('SIGKILL');
    await eventually(() => this.#running.size === 0);
  }
}
