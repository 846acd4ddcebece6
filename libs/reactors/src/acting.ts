import { setMaxListeners } from 'node:events';
import type pg from 'pg';
import { afterSpans, counted, isAborted, pause, WaylogError } from '#lib/platform';
import type { Position, ReadableLog, RecordedEvent } from '#lib/event-store';
import type { ProjectorLog, ProjectorStatus } from '#lib/projections';
import {
  DEFAULT_ATTEMPTS,
  failureText,
  Hopeless,
  isOutage,
  MAX_WAIT_SECONDS,
  waitSeconds,
} from './failures.js';
import { Led } from './led.js';
import { NextOf } from './next-of.js';
import {
  dueReactions,
  failedAgain,
  failedToRead,
  setAsideStreams,
  settle,
  reactedTo,
  type Failed,
  type WaitingStream,
} from './reactions.js';
import { loadReactor, nameOfLog, placeOf, type RecordedReactor } from './recorded.js';

export interface ActingOptions {
  /** Names the leader lock and the records. */
  readonly name: string;
  /** Increases when it acts in another way: a new version acts only on what comes after the place of the old one. */
  readonly version: number;
  /** Where it begins when it has never run; default at the end of the log. */
  readonly startsAt?: 'end' | 'beginning' | undefined;
  /** The part of the log that it hears. */
  readonly store: ReadableLog;
  readonly concerns: (event: RecordedEvent) => boolean;
  /**
   * Acts on an event. It can be called again for the same one. Throws an outage (`isOutage`) if nothing can be done now;
   * any other error concerns this event, and `Hopeless` parks it at once. An error after the signal is no failure: the event
   * is acted on again later.
   */
  readonly act: (event: RecordedEvent, signal: AbortSignal) => Promise<void>;
  /** How often an event is tried before its stream is parked; default 12, in about half an hour. */
  readonly attempts?: number | undefined;
  /** The longest wait between two attempts, in seconds; default 600. */
  readonly maxWaitSeconds?: number;
  /**
   * Whether a failure is that of the receiver of all events, and not of the event: then the first event that failed is set
   * aside alone, and nothing that comes after it is acted on until it is done with.
   */
  readonly waitsAsAWhole?: boolean;
  readonly pool: pg.Pool;
  readonly connectionString: string;
  readonly log: ProjectorLog;
  /** The most events between two records of how far it has come; default 200. */
  readonly batchSize?: number;
  /** How many streams are acted on at a time; default 8. */
  readonly concurrency?: number;
  readonly standbyIntervalMs?: number;
}

/** The longest time until it notices what an operator did, and that a waiting stream is due. */
const LOOK_MS = 1_000;

/** How long a stop waits for what is under way. */
const GRACE_MS = 5_000;

/**
 * Acts on the events of the log, in one process at a time. The events of a stream are acted on in their order, each
 * before the next one, and those of different streams beside each other. An event is acted on at least once: after a
 * kill, those since the last record are acted on again. An event that fails sets its stream aside, to be tried again
 * with growing waits, and finally parks it for an operator; other streams go on.
 */
export class Acting {
  readonly #options: Required<Omit<ActingOptions, 'startsAt' | 'attempts'>> &
    Pick<ActingOptions, 'startsAt'> & { readonly attempts: number };
  readonly #led: Led;
  #place: RecordedReactor | undefined;
  /** The streams that wait to be tried again, or are parked. */
  #aside = new Set<string>();

  constructor(options: ActingOptions) {
    this.#options = {
      batchSize: 200,
      concurrency: 8,
      standbyIntervalMs: 500,
      maxWaitSeconds: MAX_WAIT_SECONDS,
      waitsAsAWhole: false,
      ...options,
      attempts: options.attempts ?? DEFAULT_ATTEMPTS,
    };
    this.#led = new Led({ kind: 'reactor', ...options }, (client, signal) => this.#follow(client, signal));
  }

  get status(): ProjectorStatus {
    return this.#led.status;
  }

  start(): void {
    this.#led.start();
  }

  /** Finishes the events under way, records how far it has come, and gives up the lead. */
  stop(): Promise<void> {
    return this.#led.stop();
  }

  /** From where it stands, until told to stop, or until something else has moved or paused it. */
  async #follow(client: pg.Client, signal: AbortSignal): Promise<void> {
    const { name, store, batchSize } = this.#options;
    const place = await this.#whereItStands(signal);
    if (!place) return;
    this.#stand(place);
    this.#aside = await setAsideStreams(client, name);
    this.#led.state = 'active';
    this.#led.trouble.began();
    // What is acted on at a time listens to it.
    setMaxListeners(this.#options.concurrency + 10, signal);
    const reading = new AbortController();
    const going = AbortSignal.any([signal, reading.signal]);
    const feed = store.subscribe({ after: place.position, batchSize, signal: going });
    const batches = feed[Symbol.asyncIterator]();
    const next = new NextOf(batches);
    try {
      let lookedAt = -Infinity;
      while (!isAborted(signal)) {
        const arrived = await next.within(LOOK_MS, signal);
        if (isAborted(signal) || arrived?.done) return;
        if (!(await this.#isWhereItWas(client))) return;
        const isHeldUp = this.#options.waitsAsAWhole && this.#aside.size > 0;
        if (isHeldUp) await pause(Math.max(0, lookedAt + LOOK_MS - performance.now()), signal);
        else if (arrived) {
          this.#led.state = arrived.value.length === batchSize ? 'catching-up' : 'active';
          if (!(await this.#actOn(client, arrived.value, signal))) return;
          next.ask();
        }
        if (!arrived || performance.now() - lookedAt > LOOK_MS) {
          lookedAt = performance.now();
          await this.#tryAgain(client, signal);
        }
        this.#led.trouble.succeeded();
      }
    } finally {
      reading.abort();
      await batches.return?.();
    }
  }

  /** Once nobody has it paused; undefined when told to stop meanwhile. Throws if it must not go on by itself. */
  async #whereItStands(signal: AbortSignal): Promise<RecordedReactor | undefined> {
    const { name, version, pool, store, startsAt, log } = this.#options;
    for (let isSaid = false; ; isSaid = true) {
      const place = await placeOf(pool, store, { name, version, startsAt });
      if (!place.isPaused) return isAborted(signal) ? undefined : await this.#checked(place);
      if (!isSaid) log.info(`Reactor ${name} is paused`);
      this.#led.state = 'paused';
      await pause(LOOK_MS / 4, signal);
      if (isAborted(signal)) return undefined;
    }
  }

  /** The place in this log, for this version. */
  async #checked(place: RecordedReactor): Promise<RecordedReactor> {
    const { name, version, pool, store, log } = this.#options;
    if (place.version > version)
      throw new Error(
        `Reactor ${name} was run by a newer version of this application (${place.version}, this process knows ${version}). ` +
          `This process leaves it to the newer one; stop it when the deployment is done.`,
      );
    const ofLog = await nameOfLog(store);
    if (place.log !== undefined && place.log !== ofLog)
      throw new Error(
        `The log is another one than reactor ${name} has acted on up to position ${place.position}. Nothing is acted on: positions of ` +
          `two logs mean different things. Say where to go on in this one: \`waylog reactors reset ${name} --to POSITION\`.`,
      );
    let { position } = place;
    try {
      await store.refuseLost(position, position);
      if (!(await store.reaches(position, Date.parse(place.movedAt))))
        throw new Error(
          `Reactor ${name} has acted on the log up to position ${position}, but the log ends at ${await store.head()}: it has lost ` +
            `events. Say where to go on: \`waylog reactors reset ${name} --to POSITION\`.`,
        );
    } catch (error) {
      if (!(error instanceof WaylogError) || error.code !== 'position.lost') throw error;
      position = error.data['kept'] as Position;
      log.warn(
        `The log went back behind what reactor ${name} has acted on (position ${place.position}): it goes on with what came after ` +
          `position ${position}. What it has caused by then stays.`,
      );
    }
    if (place.version < version)
      log.info(`Reactor ${name} acts as version ${version} on what comes after position ${position}`);
    await pool.query(
      `update projection.reactors set version = $2, position = $3, log = $4
        where name = $1 and version <= $2 and position = $5 and resets = $6`,
      [name, version, position, ofLog ?? null, place.position, place.resets],
    );
    return { ...place, version, position, log: ofLog };
  }

  /** Whether nobody has moved or paused it, or runs a newer version. */
  async #isWhereItWas(client: pg.Client): Promise<boolean> {
    const now = await loadReactor(client, this.#options.name);
    const then = this.#place;
    return (
      now !== undefined &&
      !now.isPaused &&
      now.resets === then?.resets &&
      now.version === then.version &&
      now.position === then.position
    );
  }

  /**
   * Acts on a batch, and records how far it came. False when the log must be read again from there: not all of the batch was
   * acted on, or somebody else has moved it. Throws an outage.
   */
  async #actOn(client: pg.Client, batch: readonly RecordedEvent[], signal: AbortSignal): Promise<boolean> {
    const { name, concerns, concurrency, waitsAsAWhole, log } = this.#options;
    const place = this.#place as RecordedReactor;
    const order = new Map(batch.map((event, i) => [event, i]));
    const orderOf = (event: RecordedEvent) => order.get(event) ?? 0;
    const lists = new Map<string, RecordedEvent[]>();
    for (const event of batch) {
      if (!concerns(event) || this.#aside.has(event.streamId)) continue;
      const list = lists.get(event.streamId);
      if (list) list.push(event);
      else lists.set(event.streamId, [event]);
    }
    const open = new Set<RecordedEvent>([...lists.values()].flat());
    const failures: (Failed & { readonly of: readonly RecordedEvent[] })[] = [];
    let firstFailed = Infinity;
    let outage: { readonly error: unknown } | undefined;
    const waiting = [...lists.values()];
    const goesOn = this.#looking(client);
    const worker = async () => {
      for (let list = waiting.shift(); list; list = waiting.shift())
        for (const event of list) {
          if (isAborted(signal) || outage || !(await goesOn())) return;
          // What comes before the first that failed is still acted on: that one can then be set aside alone.
          if (waitsAsAWhole && orderOf(event) > firstFailed) break;
          const end = await this.#act(event, signal);
          if (end === 'done') {
            open.delete(event);
            continue;
          }
          if (isAborted(signal)) return;
          if (isOutage(end.error)) {
            outage = end;
            return;
          }
          failures.push({ event, of: list, ...this.#failure(end.error, 1) });
          firstFailed = Math.min(firstFailed, orderOf(event));
          break;
        }
    };
    await Promise.all(Array.from({ length: Math.min(concurrency, lists.size) }, worker));
    const failed = waitsAsAWhole ? failures.filter(({ event }) => orderOf(event) === firstFailed) : failures;
    // The later ones of its stream are tried with it.
    for (const { of } of failed) for (const event of of) open.delete(event);
    // Up to the first event that is still to be acted on.
    const end = batch.findIndex((event) => open.has(event));
    const whole = end < 0 ? batch : batch.slice(0, end);
    const last = whole.at(-1);
    if (last) {
      const ofLog = place.log ?? (await nameOfLog(this.#options.store));
      const toSetAside = failed.filter(({ event }) => whole.includes(event));
      if (!(await settle(client, name, { ...place, log: ofLog }, last.position, toSetAside))) return false;
      this.#stand({ ...place, log: ofLog, position: last.position });
      for (const { event, error, waitSeconds: wait } of toSetAside) {
        this.#aside.add(event.streamId);
        log.warn(
          `Reactor ${name} failed on the ${event.type} of ${event.streamId} at revision ${event.revision}: ${sentence(error)} ` +
            (wait === undefined
              ? this.#parkedText
              : `It is tried again; ${waitsAsAWhole ? 'what comes after it waits' : 'other streams go on'}.`),
        );
      }
    }
    if (outage) throw outage.error;
    return end < 0;
  }

  /** Asks at most every `LOOK_MS`, and for all who ask at once, whether nobody has paused or moved it meanwhile. */
  #looking(client: pg.Client): () => Promise<boolean> {
    let askedAt = performance.now();
    let answer = Promise.resolve(true);
    return () => {
      if (performance.now() - askedAt > LOOK_MS) {
        askedAt = performance.now();
        answer = this.#isWhereItWas(client);
      }
      return answer;
    };
  }

  /** What is recorded of an event that has failed so many times. */
  #failure(error: unknown, times: number): Pick<Failed, 'error' | 'waitSeconds'> {
    return {
      error: failureText(error),
      waitSeconds: error instanceof Hopeless ? undefined : waitSeconds(times, this.#options),
    };
  }

  get #parkedText(): string {
    const { name, waitsAsAWhole } = this.#options;
    return waitsAsAWhole
      ? `Nothing is acted on any more until somebody decides: see \`waylog reactors waiting ${name}\`.`
      : `The stream is parked for this reactor; others go on. See \`waylog reactors waiting ${name}\`.`;
  }

  #stand(place: RecordedReactor): void {
    this.#place = place;
    this.#led.position = place.position;
  }

  async #act(event: RecordedEvent, signal: AbortSignal): Promise<'done' | { readonly error: unknown }> {
    try {
      await untilGraceIsOver(this.#actTraced(event, signal), signal);
      this.#led.acted++;
      return 'done';
    } catch (error) {
      return { error };
    }
  }

  /** In a span that is linked to that of the command, if its trace is kept. What it causes is under that span. */
  #actTraced(event: RecordedEvent, signal: AbortSignal): Promise<void> {
    const { name, act } = this.#options;
    const { streamId, type, metadata } = event;
    const attributes = { 'waylog.reactor': name, 'waylog.stream': streamId, 'waylog.event': type };
    return afterSpans(`react ${name}`, [metadata.traceparent], attributes, () => act(event, signal));
  }

  /** The streams whose time has come: each from the event that failed up to where the reactor stands. */
  async #tryAgain(client: pg.Client, signal: AbortSignal): Promise<void> {
    const goesOn = this.#looking(client);
    for (const one of await dueReactions(client, this.#options.name)) {
      if (isAborted(signal) || !(await goesOn())) return;
      try {
        await this.#catchUp(client, one, goesOn, signal);
      } catch (error) {
        if (!(error instanceof CannotRead)) throw error;
        if (isOutage(error.error)) throw error.error;
        await this.#cannotRead(client, one, error.error);
      }
    }
  }

  async #catchUp(
    client: pg.Client,
    one: WaitingStream,
    goesOn: () => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<void> {
    const { name, store, concerns, log } = this.#options;
    const { streamId } = one;
    const end = (this.#place as RecordedReactor).position;
    for await (const page of readable(() => store.readStream(streamId, { fromRevision: one.revision })))
      for (const event of page) {
        if (store.compare(event.position, end) > 0) break;
        if (!concerns(event)) continue;
        if (isAborted(signal) || !(await goesOn())) return;
        const outcome = await this.#act(event, signal);
        if (outcome === 'done') continue;
        if (isAborted(signal)) return;
        if (isOutage(outcome.error)) throw outcome.error;
        const failures = event.revision === one.revision ? one.attempts + 1 : 1;
        const failed = { event, ...this.#failure(outcome.error, failures) };
        await failedAgain(client, name, one.revision, failed, failures);
        if (failed.waitSeconds === undefined)
          log.warn(
            `Reactor ${name} has failed ${counted(failures, 'time')} on the ${event.type} of ${streamId} at revision ${event.revision}: ` +
              `${sentence(failed.error)} ${this.#parkedText}`,
          );
        return;
      }
    if (await reactedTo(client, name, streamId, one.revision)) this.#aside.delete(streamId);
  }

  /** A stream that is gone, or damaged, concerns itself alone. */
  async #cannotRead(client: pg.Client, one: WaitingStream, error: unknown): Promise<void> {
    const { name, log } = this.#options;
    const { streamId, revision, attempts } = one;
    const failure = this.#failure(error, attempts + 1);
    const is = `Reactor ${name} cannot read ${streamId}: ${sentence(failure.error)}`;
    // Somebody has discarded what failed, and there is nothing after it.
    if (!one.hasFailed && (await reactedTo(client, name, streamId, revision))) {
      this.#aside.delete(streamId);
      log.warn(`${is} What may have come after the event that was discarded is not acted on.`);
      return;
    }
    await failedToRead(client, name, one, failure);
    if (failure.waitSeconds === undefined) log.warn(`${is} ${this.#parkedText}`);
  }
}

/** Thrown for a stream that cannot be read, by what reads it. */
class CannotRead {
  constructor(readonly error: unknown) {}
}

async function* readable(
  read: () => AsyncIterable<RecordedEvent[]>,
): AsyncGenerator<readonly RecordedEvent[]> {
  try {
    yield* read();
  } catch (error) {
    // eslint-disable-next-line @typescript-eslint/only-throw-error -- it carries one
    throw new CannotRead(error);
  }
}

/** What it resolves with; rejects some time after a signal was aborted: what does not heed it must not hold up a stop. */
function untilGraceIsOver<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const give = () => {
      timer = setTimeout(() => reject(new Error('It did not end in time, and was left.')), GRACE_MS);
    };
    if (signal.aborted) give();
    else signal.addEventListener('abort', give, { once: true });
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', give);
    };
    work.then(resolve, reject).finally(end).catch(reject);
  });
}

/** The errors of Waylog are sentences, and others are not. */
const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);
