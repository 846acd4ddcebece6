import { LRUCache } from 'lru-cache';
import { conflict, unavailable, WaylogError, type Writable } from '#lib/platform';
import { cutShort } from '../cut-short.js';
import { isNewHistory } from '../history/errors.js';
import type {
  AppendRequest,
  EventMetadata,
  EventStore,
  ExpectedRevision,
  JsonObject,
  NewEvent,
  RecordedEvent,
} from '../event-store.js';
import { schemaVersionOf } from '../upcasting.js';
import type { Upcasters } from '../vocabulary.js';
import {
  eventsOf,
  type Appended,
  type CommandContext,
  type Decider,
  type Decision,
  type DomainEvent,
} from './decider.js';
import { newEventId } from './event-id.js';
import { decodeState, encodeState } from './snapshot-codec.js';

export interface DecisionStreamsOptions<State, Event extends DomainEvent> {
  readonly store: EventStore;
  readonly decider: Decider<State, Event>;
  /** Streams are called `<category>-<id>`. */
  readonly category: string;
  readonly upcasters?: Upcasters;
  /** How many commands can wait in this process; more are refused with `commands.overloaded`. */
  readonly maxPending?: number;
  /** The memory for states between commands, as `decider.sizeOf` counts it; default 96 MB. */
  readonly cacheBytes?: number;
  /**
   * A snapshot is saved when a stream has grown by this many events since the last one, and to twice its
   * length then.
   */
  readonly snapshotEvery?: number;
  /** Called for failures that cost only time, such as a snapshot that could not be saved. */
  readonly onWarning?: (message: string, error?: unknown) => void;
}

/** The first result of a command that carried its own id. */
interface Remembered {
  readonly command: string;
  readonly fingerprint?: string;
  revision: number;
  position: string;
  answer?: object;
}

/**
 * What is known of a stream: the fold of its events up to a revision. Snapshots hold it whole, so a change of
 * its shape requires a new version of every decider.
 */
interface Entry<State> {
  state: State;
  /** The last revision in the state, -1 for an empty stream. */
  revision: number;
  position: string;
  /** Commands with ids of their own, by id. */
  commands: Map<string, Remembered>;
  snapshotRevision: number;
  /** The epoch of the store when the entry was loaded. */
  epoch: number;
}

interface Pending<State, Event> {
  readonly decide: (state: State) => Decision<Event>;
  readonly context: CommandContext;
  readonly resolve: (result: Appended & object) => void;
  readonly reject: (error: unknown) => void;
  isAnswered: boolean;
  timer?: NodeJS.Timeout;
}

interface Mailbox<State, Event> {
  readonly waiting: Pending<State, Event>[];
}

/** The result of one command of a batch before the log has answered. */
type Verdict =
  | { kind: 'refused'; error: unknown }
  | { kind: 'remembered'; remembered: Remembered }
  | { kind: 'repeats'; index: number }
  | { kind: 'decided'; events: number; answer: object };

const NO_ANSWER: object = Object.freeze({});
const hasContent = (answer: object): boolean => answer !== NO_ANSWER && Object.keys(answer).length > 0;

/** The measured size of an entry that holds nothing yet, and of a command that it remembers. */
const ENTRY_BYTES = 2_500;
const COMMAND_BYTES = 250;
/**
 * A state that is needed again this soon after its eviction means that the cache is too small for the streams
 * in use.
 */
const SOON_MS = 60_000;

const MAX_BATCH_COMMANDS = 1_000;
const MAX_BATCH_EVENTS = 5_000;
const MAX_CONFLICTS = 20;

/**
 * Decides commands on streams. The commands of a stream go through its mailbox one after another, against
 * cached state. Commands that arrive while an append is on its way are decided together and go out in the
 * next one. No command is answered before the log has accepted the events that the answer rests on: a
 * refusal, or an answer that nothing changed, can rest on an event of the same batch, or on a state that
 * another process has changed.
 */
export class DecisionStreams<State, Event extends DomainEvent> {
  readonly #store: EventStore;
  readonly #decider: Decider<State, Event>;
  readonly #options: Required<Omit<DecisionStreamsOptions<State, Event>, 'store' | 'decider'>>;
  readonly #mailboxes = new Map<string, Mailbox<State, Event>>();
  readonly #cache: LRUCache<string, Entry<State>>;
  readonly #background = new Set<Promise<void>>();
  /** Ids of commands that changed nothing, so no event records them. */
  readonly #noNews = new LRUCache<string, Remembered>({ max: 10_000 });
  readonly #evicted = new LRUCache<string, true>({ max: 10_000, ttl: SOON_MS });
  /** The epoch of the store when these ids were learned. */
  #epoch: number;
  readonly #loaded = { total: 0, again: 0 };
  #warnedAt = -Infinity;
  #pending = 0;
  #draining = false;
  #drained: (() => void)[] = [];

  constructor({ store, decider, ...options }: DecisionStreamsOptions<State, Event>) {
    this.#store = store;
    this.#epoch = store.epoch;
    this.#decider = decider;
    this.#options = {
      upcasters: {},
      maxPending: 10_000,
      cacheBytes: 96_000_000,
      snapshotEvery: 10_000,
      onWarning: () => undefined,
      ...options,
    };
    this.#cache = new LRUCache({
      maxSize: this.#options.cacheBytes,
      dispose: (_entry, id, reason) => {
        if (reason === 'evict') this.#evicted.set(id, true);
      },
    });
  }

  /** Commands that wait for an answer, for metrics. */
  get pending(): number {
    return this.#pending;
  }

  /**
   * The memory that states use between commands, how often a state was loaded, and how often it had been
   * evicted a moment before.
   */
  get cache(): { readonly bytes: number; readonly loaded: number; readonly loadedAgain: number } {
    return { bytes: this.#cache.calculatedSize, loaded: this.#loaded.total, loadedAgain: this.#loaded.again };
  }

  /**
   * Runs one command on the stream of `id`. Resolves when its events are on disk. A command that changes
   * nothing appends nothing and resolves with the current end of the stream.
   *
   * Throws what the decision throws, `commands.overloaded`, `commands.stopping`, `command.id-reused`, and
   * `database.unavailable` if it is unknown whether the events were recorded: send the command again with the
   * same command id. If calls to the log have a time limit, so has the command, however many calls it needs
   * and whatever it waits for.
   */
  change<Answer extends object = object>(
    id: string,
    decide: (state: State) => Decision<Event, Answer>,
    context: CommandContext,
  ): Promise<Appended & Answer> {
    if (this.#draining) {
      return Promise.reject(
        unavailable(
          'commands.stopping',
          'The server is stopping and takes no more commands. Send it again shortly.',
        ),
      );
    }
    if (this.#pending >= this.#options.maxPending) {
      return Promise.reject(
        unavailable(
          'commands.overloaded',
          `${this.#pending} commands wait already, which is the limit. Nothing was recorded; send it again in a moment.`,
          { pending: this.#pending },
        ),
      );
    }
    this.#pending++;
    return new Promise<Appended & Answer>((resolve, reject) => {
      const pending: Pending<State, Event> = {
        decide,
        context,
        resolve: resolve as Pending<State, Event>['resolve'],
        reject,
        isAnswered: false,
      };
      const { answersWithinMs } = this.#store;
      if (answersWithinMs !== undefined)
        pending.timer = setTimeout(() => this.#refuse(pending, noAnswer(answersWithinMs)), answersWithinMs);
      const mailbox = this.#mailboxes.get(id);
      if (mailbox) {
        mailbox.waiting.push(pending);
      } else {
        const opened = { waiting: [pending] };
        this.#mailboxes.set(id, opened);
        // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it never fails: each failure is the answer of its commands
        this.#run(id, opened);
      }
    });
  }

  #answer(pending: Pending<State, Event>, result: Appended & object): void {
    if (pending.isAnswered) return;
    pending.resolve(result);
    this.#answered(pending);
  }

  #refuse(pending: Pending<State, Event>, error: unknown): void {
    if (pending.isAnswered) return;
    pending.reject(error);
    this.#answered(pending);
  }

  #answered(pending: Pending<State, Event>): void {
    pending.isAnswered = true;
    clearTimeout(pending.timer);
    this.#pending--;
    if (this.#pending === 0) for (const drained of this.#drained.splice(0)) drained();
  }

  /** Refuses new commands and waits until every accepted one has its answer. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#pending > 0) await new Promise<void>((resolve) => this.#drained.push(resolve));
    await Promise.all(this.#background);
  }

  /** The state of a stream at its end, from the log. For tests and tools; commands use the cache. */
  async load(id: string): Promise<{ state: State; revision: number }> {
    return this.#load(id);
  }

  async #run(id: string, mailbox: Mailbox<State, Event>): Promise<void> {
    // Commands that are sent in the same turn of the event loop already share the first batch.
    await Promise.resolve();
    for (let most = MAX_BATCH_COMMANDS; mailbox.waiting.length > 0;) {
      // Commands whose time ended before their turn have their answer: nothing of them must be recorded.
      const batch = mailbox.waiting.splice(0, most).filter(({ isAnswered }) => !isAnswered);
      if (batch.length === 0) continue;
      try {
        const left = await this.#decideBatch(id, batch);
        mailbox.waiting.unshift(...left);
        most = Math.min(MAX_BATCH_COMMANDS, most * 2);
      } catch (error) {
        // The content of the log is unknown now: the next command reads it.
        this.#cache.delete(id);
        if (batch.length > 1 && isOfWhatWasSent(error)) {
          // Commands that are too large together can fit in parts: nothing was recorded, and no command fails
          // because of the others.
          most = batch.length >> 1;
          mailbox.waiting.unshift(...batch);
        } else {
          for (const pending of batch) this.#refuse(pending, error);
        }
      }
    }
    this.#mailboxes.delete(id);
  }

  /** Answers a batch, and returns the commands that did not fit into one append. */
  async #decideBatch(id: string, batch: readonly Pending<State, Event>[]): Promise<Pending<State, Event>[]> {
    this.#forgetEarlier();
    let entry = this.#cache.get(id) ?? (await this.#miss(id));
    for (let conflicts = 0; ; conflicts++) {
      const { verdicts, facts, events } = this.#decide(id, entry, batch);
      const taken = batch.slice(0, verdicts.length);
      if (events.length === 0) {
        // Refusals, and answers that nothing changed, rest on the state: it must still be that of the stream.
        // The same holds for repeated answers: the events that they report may no longer be in the log.
        const isMoved =
          !verdicts.every(({ kind }) => kind === 'remembered') && (await this.#catchUp(id, entry));
        if (!(await this.#isConfirmed(entry))) entry = await this.#load(id);
        else if (!isMoved) {
          this.#settle(id, entry, taken, verdicts, []);
          this.#keep(id, entry);
          return batch.slice(verdicts.length);
        }
        continue;
      }
      const expectedRevision: ExpectedRevision = entry.revision < 0 ? 'no-stream' : entry.revision;
      const positions = await this.#append({
        streamId: this.#streamId(id),
        expectedRevision,
        events,
        epoch: entry.epoch,
      });
      if (positions === 'new-history') {
        entry = await this.#load(id);
        continue;
      }
      if (positions) {
        for (const fact of facts) entry.state = this.#decider.evolve(entry.state, fact);
        this.#settle(id, entry, taken, verdicts, positions);
        this.#keep(id, entry);
        return batch.slice(verdicts.length);
      }
      if (conflicts >= MAX_CONFLICTS) {
        throw conflict(
          'commands.contended',
          `Other processes wrote to ${this.#streamId(id)} before each of ${MAX_CONFLICTS} attempts. Nothing was ` +
            `recorded; send the command again, and let one process write a stream where you can.`,
        );
      }
      await this.#catchUp(id, entry);
    }
  }

  /** The positions of the events; undefined if the stream has changed in the meantime. */
  async #append(request: AppendRequest): Promise<readonly string[] | 'new-history' | undefined> {
    try {
      const [outcome] = await this.#store.append([request]);
      return outcome?.accepted ? outcome.positions : undefined;
    } catch (error) {
      if (!isNewHistory(error)) throw error;
      // It can have been recorded all the same, by an attempt whose answer was lost.
      return (await this.#recorded(request)) ?? 'new-history';
    }
  }

  /** The positions of these very events in the log. */
  async #recorded({ streamId, expectedRevision, events }: AppendRequest): Promise<string[] | undefined> {
    const fromRevision = expectedRevision === 'no-stream' ? 0 : Number(expectedRevision) + 1;
    const toRevision = fromRevision + events.length - 1;
    const found: RecordedEvent[] = [];
    for await (const page of this.#store.readStream(streamId, { fromRevision, toRevision }))
      found.push(...page);
    const isAll =
      found.length === events.length && events.every(({ id }, i) => found[i]?.id.toLowerCase() === id);
    return isAll ? found.map(({ position }) => position) : undefined;
  }

  /** Whether the log still holds what the entry was folded from. */
  async #isConfirmed({ epoch }: Entry<State>): Promise<boolean> {
    try {
      await this.#store.confirm();
      return epoch === this.#store.epoch;
    } catch (error) {
      if (!isNewHistory(error)) throw error;
      return false;
    }
  }

  /** What was learned before the log moved to another place, or went back, must be learned again. */
  #forgetEarlier(): void {
    if (this.#epoch === this.#store.epoch) return;
    this.#epoch = this.#store.epoch;
    this.#cache.clear();
    this.#noNews.clear();
  }

  /** Decides without touching the entry: what a later command of the batch must see is applied to a fork. */
  #decide(id: string, entry: Entry<State>, batch: readonly Pending<State, Event>[]) {
    const verdicts: Verdict[] = [];
    const facts: Event[] = [];
    const events: NewEvent[] = [];
    let state = entry.state;
    const inBatch = new Map<string, number>();
    for (const [index, { decide, context }] of batch.entries()) {
      if (events.length >= MAX_BATCH_EVENTS) break;
      const { commandId } = context;
      if (commandId !== undefined) {
        const remembered = entry.commands.get(commandId) ?? this.#noNews.get(`${id} ${commandId}`);
        const earlier = inBatch.get(commandId);
        if (remembered) {
          verdicts.push(
            isSameCommand(remembered, context)
              ? { kind: 'remembered', remembered }
              : { kind: 'refused', error: reusedId(commandId, remembered.command, context.command) },
          );
          continue;
        }
        if (earlier !== undefined) {
          const first = (batch[earlier] as Pending<State, Event>).context;
          verdicts.push(
            isSameCommand(first, context)
              ? { kind: 'repeats', index: earlier }
              : { kind: 'refused', error: reusedId(commandId, first.command, context.command) },
          );
          continue;
        }
        inBatch.set(commandId, index);
      }
      let decision: Decision<Event>;
      try {
        decision = decide(state);
      } catch (error) {
        verdicts.push({ kind: 'refused', error });
        continue;
      }
      // Nothing can be refused from here on: a defect in a fold fails the batch, with nothing recorded.
      const news = eventsOf(decision);
      const answer = 'answer' in decision ? decision.answer : NO_ANSWER;
      for (const event of this.#newEvents(news, context, answer)) events.push(event);
      for (const fact of news) facts.push(fact);
      verdicts.push({ kind: 'decided', events: news.length, answer });
      if (news.length > 0 && index < batch.length - 1) {
        if (state === entry.state) state = this.#decider.fork(state);
        for (const fact of news) state = this.#decider.evolve(state, fact);
      }
    }
    return { verdicts, facts, events };
  }

  #newEvents(facts: readonly Event[], context: CommandContext, answer: object): NewEvent[] {
    const { command, actor = 'unknown' } = context;
    let commandId = context.commandId;
    return facts.map(({ type, data }, i) => {
      const id = newEventId();
      commandId ??= id;
      const { correlationId = commandId, causationId = commandId } = context;
      const metadata: Writable<EventMetadata> = { commandId, command, correlationId, causationId, actor };
      if (context.onBehalfOf) metadata.onBehalfOf = context.onBehalfOf;
      if (context.origin) metadata.origin = context.origin;
      if (context.commandId !== undefined) {
        if (context.fingerprint) metadata.fingerprint = context.fingerprint;
        // Kept for a repeat of the command, which must get the same answer.
        if (i === facts.length - 1 && hasContent(answer)) metadata['answer'] = answer as JsonObject;
      }
      return { id, type, schemaVersion: schemaVersionOf(this.#options.upcasters, type), data, metadata };
    });
  }

  #settle(
    id: string,
    entry: Entry<State>,
    batch: readonly Pending<State, Event>[],
    verdicts: readonly Verdict[],
    positions: readonly string[],
  ): void {
    const results: (object | undefined)[] = [];
    let next = 0;
    for (const [i, verdict] of verdicts.entries()) {
      const pending = batch[i] as Pending<State, Event>;
      switch (verdict.kind) {
        case 'refused':
          this.#refuse(pending, verdict.error);
          break;
        case 'remembered': {
          const { revision, position, answer } = verdict.remembered;
          this.#answer(pending, { revision, position, ...answer });
          break;
        }
        case 'repeats': {
          const first = results[verdict.index] as (Appended & object) | undefined;
          if (first) this.#answer(pending, first);
          else this.#refuse(pending, (verdicts[verdict.index] as { error: unknown }).error);
          break;
        }
        case 'decided': {
          entry.revision += verdict.events;
          next += verdict.events;
          if (verdict.events > 0) entry.position = positions[next - 1] as string;
          const result = { revision: entry.revision, position: entry.position, ...verdict.answer };
          results[i] = result;
          const { commandId, command, fingerprint } = pending.context;
          if (commandId !== undefined) {
            const remembered = {
              command,
              ...(fingerprint && { fingerprint }),
              revision: entry.revision,
              position: entry.position,
              ...(hasContent(verdict.answer) && { answer: verdict.answer }),
            };
            if (verdict.events > 0) entry.commands.set(commandId, remembered);
            else this.#noNews.set(`${id} ${commandId}`, remembered);
          }
          this.#answer(pending, result);
        }
      }
    }
  }

  #miss(id: string): Promise<Entry<State>> {
    this.#loaded.total++;
    if (this.#evicted.delete(id)) {
      this.#loaded.again++;
      const now = performance.now();
      if (now - this.#warnedAt > SOON_MS) {
        this.#warnedAt = now;
        this.#options.onWarning(
          `The states of the streams in use do not fit into ${this.#options.cacheBytes / 1_000_000} MB: ` +
            `${this.#streamId(id)} was put out and is loaded again within a minute, which makes commands slow. Give them more: WAYLOG_DECISION_CACHE_MB`,
        );
      }
    }
    return this.#load(id);
  }

  async #load(id: string): Promise<Entry<State>> {
    const { epoch } = this.#store;
    const entry: Entry<State> = {
      ...((await this.#loadSnapshot(id)) ?? this.#emptyEntry()),
      epoch,
    };
    await this.#catchUp(id, entry);
    return entry;
  }

  #emptyEntry(): Omit<Entry<State>, 'epoch'> {
    return {
      state: this.#decider.initialState(),
      revision: -1,
      position: this.#store.beginning,
      commands: new Map(),
      snapshotRevision: -1,
    };
  }

  /** A snapshot is a cache: if it cannot be read, reading the stream only takes longer. */
  async #loadSnapshot(id: string): Promise<Omit<Entry<State>, 'epoch'> | undefined> {
    const snapshot = await this.#store.loadSnapshot(this.#streamId(id), this.#decider.version);
    if (!snapshot) return undefined;
    try {
      const entry = decodeState(snapshot.state) as Omit<Entry<State>, 'epoch'>;
      const state = this.#decider.revive?.(entry.state) ?? entry.state;
      return { ...entry, state, snapshotRevision: snapshot.revision };
    } catch (error) {
      this.#options.onWarning(`The snapshot of ${this.#streamId(id)} cannot be read`, error);
      return undefined;
    }
  }

  /** Folds the events that the entry has missed; true if there were any. */
  async #catchUp(id: string, entry: Entry<State>): Promise<boolean> {
    const before = entry.revision;
    let ownId: string | undefined;
    for await (const page of this.#store.readStream(this.#streamId(id), { fromRevision: before + 1 })) {
      for (const event of page) {
        if (event.revision !== entry.revision + 1) throw cutShort(event.streamId, entry.revision + 1);
        entry.state = this.#decider.evolve(entry.state, event as unknown as Event);
        entry.revision = event.revision;
        entry.position = event.position;
        // A command without its own id has the id of its first event: there is nothing to remember.
        if (event.metadata.commandId === event.id) ownId = event.id;
        else if (event.metadata.commandId !== ownId) remember(entry.commands, event);
      }
    }
    return entry.revision > before;
  }

  #keep(id: string, entry: Entry<State>): void {
    this.#forgetEarlier();
    if (entry.epoch !== this.#epoch) return;
    const size = ENTRY_BYTES + this.#decider.sizeOf(entry.state) + entry.commands.size * COMMAND_BYTES;
    // A state that is larger than the whole cache stays in it alone, rather than being loaded for every
    // batch. Setting the present value again would keep its old size: entries grow in place.
    this.#cache.delete(id);
    this.#cache.set(id, entry, { size: Math.min(size, this.#options.cacheBytes) });
    // Also at twice the length of the last snapshot: saving one takes 4 us per event and delays the commands
    // meanwhile, reading an event from the log takes 10 us, once per process and stream.
    const due = Math.max(this.#options.snapshotEvery, entry.snapshotRevision + 1);
    if (entry.revision - entry.snapshotRevision < due) return;
    entry.snapshotRevision = entry.revision;
    const saved = this.#saveSnapshot(id, entry).finally(() => this.#background.delete(saved));
    this.#background.add(saved);
  }

  /** The state is serialized before the first await: later commands change it in place. */
  async #saveSnapshot(id: string, { revision, state, position, commands }: Entry<State>): Promise<void> {
    try {
      const text = encodeState({ state, revision, position, commands });
      await this.#store.saveSnapshot(this.#streamId(id), this.#decider.version, { revision, state: text });
    } catch (error) {
      this.#options.onWarning(`The snapshot of ${this.#streamId(id)} was not saved`, error);
    }
  }

  #streamId(id: string): string {
    return `${this.#options.category}-${id}`;
  }
}

function remember(commands: Map<string, Remembered>, { metadata, revision, position }: RecordedEvent): void {
  const { commandId, command, fingerprint } = metadata;
  const answer = metadata['answer'] as object | undefined;
  commands.set(commandId, {
    command,
    ...(fingerprint && { fingerprint }),
    revision,
    position,
    ...(answer && { answer }),
  });
}

/** A store that received less, or something else, would have recorded it. */
const isOfWhatWasSent = (error: unknown): boolean =>
  error instanceof WaylogError && (error.code === 'append.too-large' || error.code === 'log.bad-request');

const noAnswer = (milliseconds: number): WaylogError =>
  unavailable(
    'database.unavailable',
    `The log has not answered within ${milliseconds / 1_000} s, to this command or to those of the same flight before it. Try again in a ` +
      `moment; a command that may have been recorded is safe to send again with the same command id.`,
  );

const isSameCommand = (
  first: Pick<CommandContext, 'command' | 'fingerprint'>,
  now: CommandContext,
): boolean => first.command === now.command && first.fingerprint === now.fingerprint;

const reusedId = (commandId: string, first: string, now: string): WaylogError =>
  conflict(
    'command.id-reused',
    `Command id ${commandId} belongs to another command that was accepted earlier (${first}); this ${now} is not the ` +
      `same. Nothing was recorded. Give each command an id of its own.`,
    { commandId },
  );
