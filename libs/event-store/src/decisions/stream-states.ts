import { LRUCache } from 'lru-cache';
import { cutShort } from '../cut-short.js';
import { isNewHistory } from '../history/errors.js';
import type { EventStore, RecordedEvent } from '../event-store.js';
import { claimsOfEvent, LAPSED, noteClaims, type HeldClaims } from './claims.js';
import type { Decider, DomainEvent } from './decider.js';
import type { DecisionRoom } from './decision-room.js';
import { rememberedIn, type Remembered } from './remembered.js';
import { decodeState, encodeState } from './snapshot-codec.js';

/**
 * What is known of a stream: the fold of its events up to a revision. Snapshots hold it whole, so a change of its shape
 * requires a new version of every decider.
 */
export interface StreamState<State = unknown> {
  state: State;
  /** The last revision in the state, -1 for an empty stream. */
  revision: number;
  position: string;
  /** Commands with ids of their own, by id. */
  readonly commands: Map<string, Remembered>;
  readonly held: HeldClaims;
  snapshotRevision: number;
  /** The epoch of the store when the state was loaded: what was learned before the log moved or went back is stale. */
  readonly epoch: number;
}

export interface StreamStatesOptions<State, Event extends DomainEvent> {
  readonly store: EventStore;
  readonly decider: Decider<State, Event>;
  readonly room: DecisionRoom;
  /**
   * A snapshot is saved when a stream has grown by this many events since the last one, and to twice its length then.
   */
  readonly snapshotEvery: number;
  /** Called for failures that cost only time, such as a snapshot that could not be saved. */
  readonly onWarning: (message: string, error?: unknown) => void;
}

/** The measured size of a state that holds nothing yet, and of a command that it remembers. */
const ENTRY_BYTES = 2_500;
const COMMAND_BYTES = 250;

/** The states of the streams of a category, from memory, snapshots and the log. */
export class StreamStates<State, Event extends DomainEvent> {
  readonly #saving = new Set<Promise<void>>();
  /** Commands that changed nothing, so that no event records them. */
  readonly #noNews = new LRUCache<string, Remembered>({ max: 10_000 });

  constructor(private readonly options: StreamStatesOptions<State, Event>) {}

  /** From memory, or loaded. It can have missed events that another process has written. */
  async of(streamId: string): Promise<StreamState<State>> {
    const { room, store } = this.options;
    const known = room.stateOf(streamId) as StreamState<State> | undefined;
    if (known?.epoch === store.epoch) return known;
    room.missed(streamId);
    return this.load(streamId);
  }

  /** From the log, or a snapshot and what the log holds after it. */
  async load(streamId: string): Promise<StreamState<State>> {
    const { epoch } = this.options.store;
    const state = { ...((await this.#loadSnapshot(streamId)) ?? this.#empty()), epoch };
    await this.catchUp(streamId, state);
    return state;
  }

  /** Folds the events that the state has missed; true if there were any. */
  async catchUp(streamId: string, known: StreamState<State>): Promise<boolean> {
    const before = known.revision;
    let unnamed: string | undefined;
    for await (const page of this.options.store.readStream(streamId, { fromRevision: before + 1 }))
      unnamed = this.fold(known, page, unnamed);
    return known.revision > before;
  }

  /**
   * Folds the events that come next. Takes and returns the last command without an id of its own, which can have more
   * events in the next page. Throws `log.stream-cut-short` if others come.
   */
  fold(known: StreamState<State>, events: readonly RecordedEvent[], unnamed?: string): string | undefined {
    for (const event of events) {
      if (event.revision !== known.revision + 1) throw cutShort(event.streamId, known.revision + 1);
      if (event.type !== LAPSED)
        known.state = this.options.decider.evolve(
          known.state,
          event as Pick<typeof event, 'type' | 'data'> as Event,
        );
      const claims = claimsOfEvent(event);
      if (claims) noteClaims(known.held, claims);
      known.revision = event.revision;
      known.position = event.position;
      // A command without its own id has the id of its first event: there is nothing to remember.
      const { commandId } = event.metadata;
      if (commandId === event.id) unnamed = event.id;
      else if (commandId !== unnamed) known.commands.set(commandId, rememberedIn(event));
    }
    return unnamed;
  }

  /** About how much memory a state takes. */
  bytesOf({ state, commands }: StreamState<State>): number {
    return ENTRY_BYTES + this.options.decider.sizeOf(state) + commands.size * COMMAND_BYTES;
  }

  /** Whether the log still holds what the state was folded from. */
  async isConfirmed({ epoch }: StreamState<State>): Promise<boolean> {
    const { store } = this.options;
    try {
      await store.confirm();
      return epoch === store.epoch;
    } catch (error) {
      if (!isNewHistory(error)) throw error;
      return false;
    }
  }

  /** What a command with this id came to, if it was sent before. */
  remembered(streamId: string, { commands, epoch }: StreamState<State>, commandId: string) {
    return commands.get(commandId) ?? this.#noNews.get(`${epoch} ${streamId} ${commandId}`);
  }

  /** Remembers a command that recorded nothing. */
  rememberNoNews(streamId: string, { epoch }: StreamState<State>, commandId: string, first: Remembered) {
    this.#noNews.set(`${epoch} ${streamId} ${commandId}`, first);
  }

  /** Keeps a state for the next command, and saves a snapshot when one is due. */
  keep(streamId: string, known: StreamState<State>): void {
    const { room, store, snapshotEvery } = this.options;
    if (known.epoch !== store.epoch) return;
    room.keep(streamId, known, this.bytesOf(known));
    // Also at twice the length of the last snapshot: saving one takes 4 us per event and delays the commands
    // meanwhile, reading an event from the log takes 10 us, once per process and stream.
    const due = Math.max(snapshotEvery, known.snapshotRevision + 1);
    if (known.revision - known.snapshotRevision < due) return;
    known.snapshotRevision = known.revision;
    const saved = this.#saveSnapshot(streamId, known).finally(() => this.#saving.delete(saved));
    this.#saving.add(saved);
  }

  /** When it is unknown what the log holds: the next command reads it. */
  drop(streamId: string): void {
    this.options.room.drop(streamId);
  }

  /** Resolves when the snapshots that are being saved are saved. */
  async saved(): Promise<void> {
    await Promise.all(this.#saving);
  }

  #empty(): Omit<StreamState<State>, 'epoch'> {
    const { store, decider } = this.options;
    return {
      state: decider.initialState(),
      revision: -1,
      position: store.beginning,
      commands: new Map(),
      held: new Map(),
      snapshotRevision: -1,
    };
  }

  /** A snapshot is a cache: if it cannot be read, reading the stream only takes longer. */
  async #loadSnapshot(streamId: string): Promise<Omit<StreamState<State>, 'epoch'> | undefined> {
    const { store, decider, onWarning } = this.options;
    const snapshot = await store.loadSnapshot(streamId, decider.version);
    if (!snapshot) return undefined;
    try {
      const saved = decodeState(snapshot.state) as Omit<StreamState<State>, 'epoch'>;
      const state = decider.revive?.(saved.state) ?? saved.state;
      return {
        ...saved,
        held: (saved as Partial<typeof saved>).held ?? new Map<string, string>(),
        state,
        snapshotRevision: snapshot.revision,
      };
    } catch (error) {
      onWarning(`The snapshot of ${streamId} cannot be read`, error);
      return undefined;
    }
  }

  /** The state is serialized before the first await: later commands change it in place. */
  async #saveSnapshot(
    streamId: string,
    { revision, state, position, commands, held }: StreamState<State>,
  ): Promise<void> {
    const { store, decider, onWarning } = this.options;
    try {
      const text = encodeState({ state, revision, position, commands, ...(held.size > 0 && { held }) });
      await store.saveSnapshot(streamId, decider.version, { revision, state: text });
    } catch (error) {
      onWarning(`The snapshot of ${streamId} was not saved`, error);
    }
  }
}
