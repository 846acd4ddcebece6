import type { Writable } from '#lib/platform';
import type { EventMetadata, JsonObject, NewEvent } from '../event-store.js';
import { schemaVersionOf } from '../upcasting.js';
import type { Upcasters } from '../vocabulary.js';
import type { ClaimChanges } from './claims.js';
import { wholeOf, type CommandContext, type Decider, type Decision, type DomainEvent } from './decider.js';
import { newEventId } from './event-id.js';
import { hasContent, NO_ANSWER, refusedAsOther, type Remembered } from './remembered.js';

/** A command that waits to be decided. */
export interface Undecided<State, Event> {
  /** Reads what the decision needs besides the state, right before it is made. It does not fail: the decision does. */
  readonly prepare?: (() => Promise<void>) | undefined;
  readonly decide: (state: State) => Decision<Event>;
  readonly context: CommandContext;
}

/** What one command of a batch comes to, once the log has accepted the events of the batch. */
export type Verdict =
  | { readonly kind: 'refused'; readonly error: unknown }
  | { readonly kind: 'remembered'; readonly remembered: Remembered }
  /** The same command is in the batch already, with this index. */
  | { readonly kind: 'repeats'; readonly index: number }
  | { readonly kind: 'decided'; readonly events: number; readonly answer: object };

export interface DecidedBatch<Event> {
  /** Of the commands from the first on; those after them wait for the next batch. */
  readonly verdicts: readonly Verdict[];
  readonly facts: readonly Event[];
  /** The facts as the log takes them. */
  readonly events: readonly NewEvent[];
  /** Of the command whose events these are: one that takes or gives back claims records alone. */
  readonly claims?: ClaimChanges;
}

const MAX_BATCH_EVENTS = 5_000;

/** Decides commands one after another. The state stays as it is: what a later one must see is applied to a fork. */
export function decideBatch<State, Event extends DomainEvent>(
  batch: readonly Undecided<State, Event>[],
  before: State,
  by: {
    readonly decider: Decider<State, Event>;
    readonly upcasters: Upcasters;
    readonly remembered: (commandId: string) => Remembered | undefined;
  },
): DecidedBatch<Event> {
  const verdicts: Verdict[] = [];
  const facts: Event[] = [];
  const events: NewEvent[] = [];
  let state = before;
  const inBatch = new Map<string, number>();
  for (const [index, { decide, context }] of batch.entries()) {
    if (events.length >= MAX_BATCH_EVENTS) break;
    const { commandId } = context;
    if (commandId !== undefined) {
      const remembered = by.remembered(commandId);
      const earlier = inBatch.get(commandId);
      const first = remembered ?? (earlier === undefined ? undefined : batch[earlier]?.context);
      if (first) {
        const error = refusedAsOther(commandId, first, context);
        if (error) verdicts.push({ kind: 'refused', error });
        else if (remembered) verdicts.push({ kind: 'remembered', remembered });
        else verdicts.push({ kind: 'repeats', index: earlier as number });
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
    const { events: news, answer = NO_ANSWER, takes = [], releases = [] } = wholeOf(decision);
    const doesClaim = takes.length > 0 || releases.length > 0;
    if (doesClaim && news.length === 0 && takes.length > 0)
      throw new Error(`${context.command} takes a claim and records nothing that says so.`);
    if (doesClaim && events.length > 0) break;
    for (const event of newEvents(news, context, answer, by.upcasters)) events.push(event);
    for (const fact of news) facts.push(fact);
    verdicts.push({ kind: 'decided', events: news.length, answer });
    if (doesClaim && news.length > 0) return { verdicts, facts, events, claims: { takes, releases } };
    if (news.length > 0 && index < batch.length - 1) {
      if (state === before) state = by.decider.fork(state);
      for (const fact of news) state = by.decider.evolve(state, fact);
    }
  }
  return { verdicts, facts, events };
}

function newEvents(
  facts: readonly DomainEvent[],
  context: CommandContext,
  answer: object,
  upcasters: Upcasters,
): NewEvent[] {
  const { command, actor = 'unknown' } = context;
  let commandId = context.commandId;
  return facts.map(({ type, data }, i) => {
    const id = newEventId();
    commandId ??= id;
    const { correlationId = commandId, causationId = commandId } = context;
    const metadata: Writable<EventMetadata> = { commandId, command, correlationId, causationId, actor };
    if (context.onBehalfOf) metadata.onBehalfOf = context.onBehalfOf;
    if (context.origin) metadata.origin = context.origin;
    if (context.traceparent) metadata.traceparent = context.traceparent;
    if (context.commandId !== undefined) {
      if (context.fingerprint) metadata.fingerprint = context.fingerprint;
      // Kept for a repeat of the command, which must get the same answer.
      if (i === facts.length - 1 && hasContent(answer)) metadata['answer'] = answer as JsonObject;
    }
    return { id, type, schemaVersion: schemaVersionOf(upcasters, type), data, metadata };
  });
}
