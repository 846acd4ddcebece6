import { conflict, inSpans, unavailable, WaylogError } from '#lib/platform';
import { isNewHistory } from '../history/errors.js';
import type { AppendOutcome, AppendRequest, EventStore, NewEvent, RecordedEvent } from '../event-store.js';
import type { Upcasters } from '../vocabulary.js';
import { Claims, noteClaims, type ClaimPlan } from './claims.js';
import { decideBatch, type DecidedBatch, type Undecided, type Verdict } from './decide-batch.js';
import type { Appended, CommandContext, Decider, Decision, DomainEvent } from './decider.js';
import { DecisionRoom } from './decision-room.js';
import { ReferencedStates } from './referenced-states.js';
import { rememberedOf } from './remembered.js';
import { StreamStates, type StreamState } from './stream-states.js';

export interface DecisionStreamsOptions<State, Event extends DomainEvent> {
  readonly store: EventStore;
  readonly decider: Decider<State, Event>;
  /** Streams are called `<category>-<id>`. */
  readonly category: string;
  readonly upcasters?: Upcasters;
  /** Shared with the streams of other categories; by default one of their own. */
  readonly room?: DecisionRoom;
  /**
   * A snapshot is saved when a stream has grown by this many events since the last one, and to twice its length then;
   * default 10,000.
   */
  readonly snapshotEvery?: number;
  /** How long a claim that nobody confirms keeps others out, where the store cannot append together; default 30 s. */
  readonly claimLapseMs?: number | undefined;
  /** Called for failures that cost only time, such as a snapshot that could not be saved. */
  readonly onWarning?: (message: string, error?: unknown) => void;
}

interface Pending<State, Event> extends Undecided<State, Event> {
  readonly resolve: (result: Appended & object) => void;
  readonly reject: (error: unknown) => void;
  isAnswered: boolean;
  timer?: NodeJS.Timeout;
}

interface Mailbox<State, Event> {
  readonly waiting: Pending<State, Event>[];
}

const MAX_BATCH_COMMANDS = 1_000;
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
  readonly #category: string;
  readonly #upcasters: Upcasters;
  readonly #room: DecisionRoom;
  readonly #states: StreamStates<State, Event>;
  readonly #claims: Claims;
  readonly #warn: (message: string, error?: unknown) => void;
  readonly #referenced: ReferencedStates<State, Event>;
  readonly #mailboxes = new Map<string, Mailbox<State, Event>>();
  #pending = 0;
  #draining = false;
  #drained: (() => void)[] = [];

  constructor({
    store,
    decider,
    category,
    upcasters = {},
    room = new DecisionRoom(),
    snapshotEvery = 10_000,
    claimLapseMs,
    onWarning = () => undefined,
  }: DecisionStreamsOptions<State, Event>) {
    this.#store = store;
    this.#decider = decider;
    this.#category = category;
    this.#upcasters = upcasters;
    this.#room = room;
    this.#warn = onWarning;
    this.#claims = new Claims(store, claimLapseMs);
    const options = { store, decider, room, snapshotEvery, onWarning };
    this.#states = new StreamStates(options);
    this.#referenced = new ReferencedStates(options);
  }

  /**
   * Runs one command on the stream of `id`. Resolves when its events are on disk. A command that changes
   * nothing appends nothing and resolves with the current end of the stream.
   *
   * Throws what the decision throws, `commands.overloaded`, `commands.stopping`, `command.id-reused`, and
   * `database.unavailable` if it is unknown whether the events were recorded: send the command again with the
   * same command id. If calls to the log have a time limit, so has the command, however many calls it needs
   * and whatever it waits for. `prepare` runs right before each attempt
   * to decide; it must not fail.
   */
  change<Answer extends object = object>(
    id: string,
    decide: (state: State) => Decision<Event, Answer>,
    context: CommandContext,
    prepare?: () => Promise<void>,
  ): Promise<Appended & Answer> {
    if (this.#draining) {
      return Promise.reject(
        unavailable(
          'commands.stopping',
          'The server is stopping and takes no more commands. Send it again shortly.',
        ),
      );
    }
    const isFull = this.#room.enter();
    if (isFull) return Promise.reject(isFull);
    this.#pending++;
    return new Promise<Appended & Answer>((resolve, reject) => {
      const pending: Pending<State, Event> = {
        prepare,
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
    this.#room.leave();
    this.#pending--;
    if (this.#pending === 0) for (const drained of this.#drained.splice(0)) drained();
  }

  /** Refuses new commands and waits until every accepted one has its answer. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#pending > 0) await new Promise<void>((resolve) => this.#drained.push(resolve));
    await this.#states.saved();
  }

  /** The state of a stream at its end, for a decision on another stream. It can have moved a moment later. */
  stateAtEnd(id: string): Promise<State> {
    return this.#referenced.atEnd(this.#streamId(id));
  }

  /** The state of a stream at its end, from the log. For tests and tools; commands use the cache. */
  async load(id: string): Promise<{ state: State; revision: number }> {
    return this.#states.load(this.#streamId(id));
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
        this.#states.drop(this.#streamId(id));
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
    const streamId = this.#streamId(id);
    const traces = batch.map(({ context }) => context.traceparent);
    let known: StreamState<State> | undefined;
    for (let conflicts = 0; ; conflicts++) {
      const [current, decided, plan] = await inSpans('decide', traces, {}, () =>
        this.#decide(streamId, batch, known),
      );
      const { verdicts, facts, events } = plan instanceof WaylogError ? refusedFor(decided, plan) : decided;
      const settled = (positions: readonly string[]) => {
        this.#settle(streamId, current, batch, verdicts, positions);
        this.#states.keep(streamId, current);
        return batch.slice(verdicts.length);
      };
      if (events.length === 0) {
        // Refusals, and answers that nothing changed, rest on the state: it must still be that of the stream.
        // The same holds for repeated answers: the events that they report may no longer be in the log.
        const isMoved =
          !verdicts.every(({ kind }) => kind === 'remembered') &&
          (await this.#states.catchUp(streamId, current));
        const isConfirmed = await this.#states.isConfirmed(current);
        if (isConfirmed && !isMoved) return settled([]);
        known = isConfirmed ? current : await this.#states.load(streamId);
        continue;
      }
      const claims = plan instanceof WaylogError ? undefined : plan;
      const request: AppendRequest = {
        streamId,
        expectedRevision: current.revision < 0 ? 'no-stream' : current.revision,
        events: claims ? noting(events, claims.note) : events,
        epoch: current.epoch,
      };
      const recorded = traces.filter((_, i) => hasEvents(verdicts[i]));
      const positions = await inSpans('append', recorded, { 'waylog.events': events.length }, () =>
        this.#append(request, claims),
      );
      if (positions === 'new-history') {
        known = await this.#states.load(streamId);
        continue;
      }
      if (positions) {
        for (const fact of facts) current.state = this.#decider.evolve(current.state, fact);
        if (claims) noteClaims(current.held, claims.note);
        return settled(positions);
      }
      if (conflicts >= MAX_CONFLICTS) {
        throw conflict(
          'commands.contended',
          `Other processes wrote to ${streamId} before each of ${MAX_CONFLICTS} attempts. Nothing was ` +
            `recorded; send the command again, and let one process write a stream where you can.`,
        );
      }
      await this.#states.catchUp(streamId, current);
      known = current;
    }
  }

  /** Decides a batch on a state, by default on the one that is known or loaded. */
  async #decide(
    streamId: string,
    batch: readonly Pending<State, Event>[],
    known: StreamState<State> | undefined,
  ) {
    const current = known ?? (await this.#states.of(streamId));
    if (batch.some(({ prepare }) => prepare))
      await Promise.all(batch.flatMap(({ prepare }) => prepare?.() ?? []));
    const decided = decideBatch(batch, current.state, {
      decider: this.#decider,
      upcasters: this.#upcasters,
      remembered: (commandId) => this.#states.remembered(streamId, current, commandId),
    });
    const plan = decided.claims && (await this.#planClaims(streamId, current, decided));
    return [current, decided, plan] as const;
  }

  /** The positions of the events; undefined if the stream has changed in the meantime. */
  async #append(
    request: AppendRequest,
    claims: ClaimPlan | undefined,
  ): Promise<readonly string[] | 'new-history' | undefined> {
    try {
      const [outcome] = await (claims ? this.#appendWith(claims, request) : this.#store.append([request]));
      return outcome?.accepted ? outcome.positions : undefined;
    } catch (error) {
      if (!isNewHistory(error)) throw error;
      // It can have been recorded all the same, by an attempt whose answer was lost.
      return (await this.#recorded(request)) ?? 'new-history';
    }
  }

  async #planClaims(streamId: string, known: StreamState<State>, { claims, events }: DecidedBatch<Event>) {
    const [first] = events;
    const plan = claims && first && (await this.#claims.plan(streamId, known, claims, first.metadata));
    // It holds what it takes, or never had what it gives back.
    if (plan && 'takes' in plan && plan.takes.length + plan.releases.length === 0) return undefined;
    return plan;
  }

  /** Together with its claims where the store can; otherwise claims are taken before, and given back after. */
  async #appendWith({ takes, releases }: ClaimPlan, request: AppendRequest): Promise<AppendOutcome[]> {
    if (this.#store.appendTogether) return this.#store.appendTogether([request, ...takes, ...releases]);
    const taken = takes.length > 0 ? await this.#store.append(takes) : [];
    if (!taken.every(({ accepted }) => accepted)) return [];
    const outcomes = await this.#store.append([request]);
    // The stream of the holder says that they are given back. Saying it here saves others from reading it.
    if (outcomes[0]?.accepted && releases.length > 0)
      await this.#store.append(releases).catch((error: unknown) => {
        this.#warn(`Claims that ${request.streamId} has given back do not say so`, error);
      });
    return outcomes;
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

  /** Answers the commands of a batch once the log has accepted its events, whose positions these are. */
  #settle(
    streamId: string,
    known: StreamState<State>,
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
          known.revision += verdict.events;
          next += verdict.events;
          if (verdict.events > 0) known.position = positions[next - 1] as string;
          const { commandId } = pending.context;
          if (commandId !== undefined) {
            const remembered = rememberedOf(pending.context, known, verdict.answer);
            if (verdict.events > 0) known.commands.set(commandId, remembered);
            else this.#states.rememberNoNews(streamId, known, commandId, remembered);
          }
          const result = { revision: known.revision, position: known.position, ...verdict.answer };
          results[i] = result;
          this.#answer(pending, result);
        }
      }
    }
  }

  #streamId(id: string): string {
    return `${this.#category}-${id}`;
  }
}

/** A batch whose last command, the one with events, is refused. */
const refusedFor = <Event>({ verdicts }: DecidedBatch<Event>, error: WaylogError): DecidedBatch<Event> => ({
  verdicts: [...verdicts.slice(0, -1), { kind: 'refused', error }],
  facts: [],
  events: [],
});

/** Events whose last one says what their command did about claims. */
const noting = (events: readonly NewEvent[], claims: ClaimPlan['note']): NewEvent[] =>
  events.map((event, i) =>
    i < events.length - 1 ? event : { ...event, metadata: { ...event.metadata, claims } },
  );

/** A store that received less, or something else, would have recorded it. */
const isOfWhatWasSent = (error: unknown): boolean =>
  error instanceof WaylogError && (error.code === 'append.too-large' || error.code === 'log.bad-request');

const hasEvents = (verdict: Verdict | undefined): boolean =>
  verdict?.kind === 'decided' && verdict.events > 0;

const noAnswer = (milliseconds: number): WaylogError =>
  unavailable(
    'database.unavailable',
    `The log has not answered within ${milliseconds / 1_000} s, to this command or to those of the same stream before it. Try again in a ` +
      `moment; a command that may have been recorded is safe to send again with the same command id.`,
  );
