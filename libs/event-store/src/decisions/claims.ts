import { unavailable, WaylogError } from '#lib/platform';
import type { AppendRequest, EventStore, JsonObject, NewEvent, RecordedEvent } from '../event-store.js';
import { newEventId } from './event-id.js';

/** A value that at most one stream holds: a stream of its own says which. The value is in no event, only its hash in the name. */
export interface Claim {
  /** `claim-<kind>-<hash>` */
  readonly streamId: string;
  /** Nobody takes it again once it was given back. */
  readonly isForEver: boolean;
  /** What a command is refused with that would take it from another stream. */
  readonly refusal: () => WaylogError;
}

/** The category of claims. No context has it. */
export const CLAIM = 'claim';
const TAKEN = 'ClaimTaken';
const RELEASED = 'ClaimReleased';
/** In the stream of a holder that did not confirm a claim: from here on it cannot. Deciders are not given it. */
export const LAPSED = 'ClaimLapsed';

/** What the last event of a command says of claims: by their streams, the ids of the events that took them. */
export interface ClaimsOfEvent {
  readonly taken?: Readonly<Record<string, string>>;
  readonly released?: readonly string[];
}

export const claimsOfEvent = ({ metadata }: Pick<RecordedEvent, 'metadata'>): ClaimsOfEvent | undefined =>
  metadata['claims'] as ClaimsOfEvent | undefined;

/** The claims of a stream, as its own events say: by the stream of the claim, the id of the event that took it. */
export type HeldClaims = Map<string, string>;

export function noteClaims(held: HeldClaims, { taken = {}, released = [] }: ClaimsOfEvent): void {
  for (const claim of released) held.delete(claim);
  for (const [claim, event] of Object.entries(taken)) held.set(claim, event);
}

/** What a command does about claims. */
export interface ClaimChanges {
  readonly takes: readonly Claim[];
  readonly releases: readonly Claim[] | 'all';
}

/** What has to be recorded of claims together with the events of their holder. */
export interface ClaimPlan {
  /** For the metadata of the last of those events. */
  readonly note: ClaimsOfEvent & JsonObject;
  readonly takes: readonly AppendRequest[];
  readonly releases: readonly AppendRequest[];
}

/** Where a claim stands. */
interface Standing {
  /** The stream that holds it, or that has taken it and not confirmed it yet. */
  readonly holder?: string;
  readonly takenBy?: RecordedEvent;
  readonly isForEver: boolean;
  readonly revision: number;
}

/**
 * How long a claim that its holder has not confirmed keeps others out, by the clocks of the store and of this process. It
 * decides only how soon they can go on: what keeps a late holder from confirming is an event in its stream.
 */
const LAPSE_MS = 30_000;

/**
 * Unique values. Where the store can append to several streams together, a claim is taken with the events that need it.
 * Where it cannot, it is taken first, and confirmed by those events, which come next after a revision of the holder that
 * the claim names, and whose metadata name it. If they never come, as after a kill, the next one who wants it takes their
 * place in the stream of the holder. Either way two streams never hold one claim.
 */
export class Claims {
  constructor(
    private readonly store: EventStore,
    private readonly lapseMs = LAPSE_MS,
  ) {}

  /** What to record for these changes. Returns the refusal if another stream holds a claim; throws `claim.pending`. */
  async plan(
    holder: string,
    { held, revision: holderRevision }: { readonly held: HeldClaims; readonly revision: number },
    { takes, releases }: ClaimChanges,
    metadata: NewEvent['metadata'],
  ): Promise<ClaimPlan | WaylogError> {
    const taking: AppendRequest[] = [];
    const releasing: AppendRequest[] = [];
    const taken: Record<string, string> = {};
    const released: string[] = [];
    const change = ({ revision }: Standing, streamId: string, type: string, data: JsonObject) => {
      const id = newEventId();
      const events = [{ id, type, schemaVersion: 1, data, metadata }];
      return { streamId, expectedRevision: revision < 0 ? 'no-stream' : revision, events } as const;
    };
    for (const { streamId, isForEver, refusal } of new Map(
      takes.map((one) => [one.streamId, one]),
    ).values()) {
      if (held.has(streamId)) continue;
      const standing = await this.#standing(streamId, holder);
      if (standing.holder !== undefined || standing.isForEver) return refusal();
      const request = change(standing, streamId, TAKEN, {
        holder,
        holderRevision,
        ...(isForEver && { isForEver }),
      });
      taking.push(request);
      taken[streamId] = request.events[0]?.id ?? '';
    }
    const wanted = releases === 'all' ? [...held.keys()] : releases.map(({ streamId }) => streamId);
    for (const streamId of new Set(wanted)) {
      if (!held.has(streamId) || streamId in taken) continue;
      releasing.push(change(await this.#standing(streamId, holder), streamId, RELEASED, {}));
      released.push(streamId);
    }
    const note = {
      ...(taking.length > 0 && { taken }),
      ...(released.length > 0 && { released }),
    };
    return { note, takes: taking, releases: releasing };
  }

  /** Where a claim stands for one who wants it: nobody's if it is his own, or if it has lapsed. */
  async #standing(claim: string, wantedBy: string): Promise<Standing> {
    for (;;) {
      let standing: Standing = { revision: -1, isForEver: false };
      for await (const page of this.store.readStream(claim))
        for (const event of page) standing = standingAfter(standing, event);
      const { holder, takenBy } = standing;
      if (holder === undefined || takenBy === undefined) return standing;
      const free = { revision: standing.revision, isForEver: false };
      if (holder === wantedBy) return free;
      // Recorded together with the events of its holder.
      if (this.store.appendTogether) return standing;
      const { isHeld, wasHeld, revision } = await this.#heldBy(holder, claim);
      if (isHeld) return standing;
      if (wasHeld && standing.isForEver) return { ...free, isForEver: true };
      // What comes next in the stream of the holder is there already, and does not confirm it: nothing else can.
      if (revision > Number(takenBy.data['holderRevision'])) return free;
      if (Date.now() - Date.parse(takenBy.recordedAt) < this.lapseMs) throw pending();
      await this.#fence(holder, revision, { claim }, takenBy.metadata);
      // Read again: the holder may have been faster.
    }
  }

  /** What the stream of a holder says of a claim, in its last word about it. */
  async #heldBy(holder: string, claim: string) {
    let isHeld = false;
    let wasHeld = false;
    let revision = -1;
    for await (const page of this.store.readStream(holder))
      for (const event of page) {
        revision = event.revision;
        const { taken = {}, released = [] } = claimsOfEvent(event) ?? {};
        if (released.includes(claim)) isHeld = false;
        if (claim in taken) isHeld = wasHeld = true;
      }
    return { isHeld, wasHeld, revision };
  }

  /** Takes the place in the stream of the holder at which it could confirm the claim: it has to take it again. */
  async #fence(
    holder: string,
    revision: number,
    data: JsonObject,
    metadata: NewEvent['metadata'],
  ): Promise<void> {
    await this.store.append([
      {
        streamId: holder,
        expectedRevision: revision < 0 ? 'no-stream' : revision,
        events: [{ id: newEventId(), type: LAPSED, schemaVersion: 1, data, metadata }],
      },
    ]);
  }
}

function standingAfter(before: Standing, event: RecordedEvent): Standing {
  const { type, data, revision } = event;
  if (type === TAKEN)
    return {
      holder: data['holder'] as string,
      takenBy: event,
      isForEver: data['isForEver'] === true,
      revision,
    };
  // Given back, and for ever nobody's.
  return { isForEver: before.isForEver, revision };
}

const pending = () =>
  unavailable(
    'claim.pending',
    'Another command is taking this value at the moment, or was ended while it did. Nothing was recorded; send the ' +
      'command again in a few seconds.',
    { retryAfterSeconds: 5 },
  );
