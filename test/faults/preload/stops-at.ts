import files, { open } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import pg from 'pg';
import { PostgresEventStore, type AppendOutcome, type AppendRequest } from '#lib/event-store';
import { Deliverer } from '#lib/webhooks';

// Loaded into a program before anything else (node --import): at a step it is killed, or frozen.
//
//   FAULTS_STOP_AT       before|during|after, what is done, and words that are in it:
//                          append TYPE          events of which the first one has this type
//                          sql WORDS            a statement, with its name and its values
//                          file METHOD [WORD]   a call of node:fs/promises or of a file handle, by a path
//                          delivery             of a webhook
//                        `during`: it was begun, and how it ends is not seen any more
//   FAULTS_STOP_TIME   the how many-th time that is (1)
//   FAULTS_SIGNAL      SIGKILL, or SIGSTOP, of which it says a line before

const [when, what, ...words] = (process.env['FAULTS_STOP_AT'] ?? '').split(' ');
let times = Number(process.env['FAULTS_STOP_TIME'] ?? 1);

const signal = process.env['FAULTS_SIGNAL'] ?? 'SIGKILL';

/** The kernel lets this process do nothing more, not even the next line: for good, or until SIGCONT. */
function stop(): void {
  times = Infinity;
  // Written at once: it is a pipe.
  if (signal === 'SIGSTOP') process.stdout.write('frozen\n');
  process.kill(process.pid, signal);
}

type Method = (this: unknown, ...args: unknown[]) => unknown;
interface Step {
  /** Whether this call is meant. */
  readonly isIt: (args: readonly unknown[]) => boolean;
  /** Whether it did what it is for; otherwise it has not come to this step. */
  readonly isDone?: (result: unknown) => boolean;
}

function stopAt(target: object, name: string, { isIt, isDone = () => true }: Step): void {
  const methods = target as Record<string, Method>;
  const method = methods[name] as Method;
  methods[name] = function (...args) {
    if (!isIt(args) || times > 1) {
      if (isIt(args)) times--;
      return method.apply(this, args);
    }
    if (when === 'before') {
      stop();
      return method.apply(this, args);
    }
    if (when === 'during') {
      setImmediate(stop);
      return method.apply(this, args);
    }
    const done = (result: unknown) => {
      if (isDone(result)) stop();
      return result;
    };
    const heard = args.at(-1);
    if (typeof heard !== 'function') return (method.apply(this, args) as Promise<unknown>).then(done);
    const callback: Method = (error, result) => {
      if (!error) done(result);
      return (heard as Method)(error, result);
    };
    return method.apply(this, [...args.slice(0, -1), callback]);
  };
}

const have = (text: string) => words.every((word) => text.includes(word));

const appends: Step = {
  isIt: ([requests]) => words[0] === (requests as readonly AppendRequest[])[0]?.events[0]?.type,
  isDone: (outcomes) => (outcomes as readonly AppendOutcome[]).every(({ accepted }) => accepted),
};

switch (what) {
  case 'append': {
    // The log in EventStoreDB loads its client, so this comes only here.
    const { EventStoreDbEventStore } =
      await import('../../../libs/event-store/src/eventstoredb/eventstoredb-event-store.js');
    stopAt(PostgresEventStore.prototype, 'append', appends);
    stopAt(PostgresEventStore.prototype, 'appendTogether', appends);
    stopAt(EventStoreDbEventStore.prototype, 'append', appends);
    break;
  }
  case 'sql':
    stopAt(pg.Client.prototype, 'query', {
      isIt: ([query, values]) => have(JSON.stringify([query, values])),
    });
    break;
  case 'file': {
    const [method = '', ...paths] = words.splice(0);
    words.push(...paths);
    const handle = await open(new URL(import.meta.url));
    const target = method in files ? files : (Object.getPrototypeOf(handle) as object);
    await handle.close();
    stopAt(target, method, { isIt: (args) => have(args.filter((arg) => typeof arg === 'string').join(' ')) });
    syncBuiltinESMExports();
    break;
  }
  case 'delivery':
    stopAt(Deliverer.prototype, 'deliver', { isIt: () => true, isDone: (status) => status === 204 });
    break;
  default:
    throw new Error(`There is no such step: ${process.env['FAULTS_STOP_AT']}`);
}
