import { CommandBus, QueryBus, type Command } from '@nestjs/cqrs';
import { LRUCache } from 'lru-cache';
import { conflict, invalidInput, WaylogError, type Timestamp } from '#lib/platform';
import type { CommandResult } from './command.js';
import { CreateFlight, type ImportedFlight } from './flight/create-flight.js';
import { DeleteFlight } from './flight/delete-flight.js';
import {
  GetFlight,
  ListFlights,
  type FlightFilter,
  type FlightSummary,
  type FlightView,
} from './flight/flights.api.js';
import { UpdateFlight, type FlightChanges } from './flight/update-flight.js';
import { datesAsText, timeAsText, type WithDates } from './dates.js';
import type { ReadOptions, Step } from '#lib/waylog';
import { GetFrameResults, type FrameResultView } from './frames/frame-results.api.js';
import { SaveFrameResult, type FrameResult } from './frames/save-frame-result.js';
import { GetHeadingHistory, GetLatestHeading, type HeadingView } from './headings/heading-history.api.js';
import { SaveHeading } from './headings/save-heading.js';
import { GetImageMetadata, GetImagePath } from './images/flight-images.api.js';
import { SaveImageMetadata } from './images/save-image-metadata.js';
import {
  GetFlightState,
  GetProcessingHistory,
  type FlightStateView,
  type HistoryFilter,
} from './processing-state/flight-state.api.js';
import { SaveFlightState, type FlightStateFields } from './processing-state/save-flight-state.js';
import { GetChunkStates, type ChunkView } from './route-chunks/chunks.api.js';
import { DeleteChunk } from './route-chunks/delete-chunk.js';
import { SaveChunkState, type ChunkHandle } from './route-chunks/save-chunk-state.js';
import { Transact } from './transact.js';
import { AddWaypoint } from './waypoints/add-waypoint.js';
import { UpdateWaypoint } from './waypoints/update-waypoint.js';
import { UpdateWaypoints, type BatchResult } from './waypoints/update-waypoints.js';
import type { NewWaypoint, Waypoint, WaypointFields } from './waypoints/waypoint.js';
import { GetWaypoints, type WaypointView } from './waypoints/waypoints.api.js';

/** A flight as updateFlight accepts it: its id and the details to change; parts and times are ignored. */
export interface FlightUpdate extends FlightChanges {
  readonly id: string;
}

/** A processing state with its flight. */
export interface FlightStateOfFlight extends FlightStateFields {
  readonly flightId: string;
}

/**
 * One operation of executeTransaction. It describes its change on the recorder that it is given, and returns nothing,
 * or a promise of nothing, which is awaited before the next one begins.
 */
export type TransactionOperation = (transaction: FlightTransaction) => void | Promise<void>;

/**
 * The port for modules written against the flight database contract (reference: IFlightDatabase): its 24 methods by
 * name, over the command and query buses. A caller that writes through an instance reads its own writes through it.
 *
 * Limits and input are checked by the rules that hold over HTTP too; a time can be a `Date` in every method.
 *
 * `true`, `false`, `null` and empty lists mean what the contract says. Its IntegrityError and ForeignKeyError are the
 * WaylogErrors `flight.already-exists` and `flight.not-found`.
 */
export class FlightDatabase {
  readonly #written = new LRUCache<string, string>({ max: 10_000 });
  #lastPosition: string | undefined;

  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  /**
   * Runs operations on one flight as a whole, one after another: all their changes are recorded, or none. False if one
   * of their changes names something that does not exist. Other refusals are thrown, and so is what an operation itself
   * throws or rejects with. The recorder is closed once the last operation has ended: later changes are refused with
   * `transaction.ended`.
   */
  async executeTransaction(operations: readonly TransactionOperation[]): Promise<boolean> {
    if (!Array.isArray(operations))
      throw invalidInput([{ field: 'operations', message: 'must be a list of functions' }]);
    const transaction = new FlightTransaction();
    try {
      for (const [i, operation] of operations.entries()) {
        if (typeof operation !== 'function')
          throw noOperation(i, 'must be a function that is given the transaction');
        // Callers without types can pass anything.
        const answer = await (operation as (transaction: FlightTransaction) => unknown)(transaction);
        if (answer !== undefined)
          throw noOperation(
            i,
            `must answer nothing, or a promise of nothing, and has answered ${typeof answer}`,
          );
      }
    } finally {
      transaction.close();
    }
    const { flightId, steps, refusal } = transaction;
    // A refusal counts even if the operation has caught it.
    if (refusal) throw refusal;
    if (steps.length === 0) return true;
    return this.#unlessMissing(new Transact({ flightId, commands: steps }));
  }

  /** Returns the id. Throws `flight.already-exists`. */
  async insertFlight(flight: WithDates<ImportedFlight>): Promise<string> {
    return (await this.#write(new CreateFlight({ flight: datesAsText(flight) }))).flightId;
  }

  /** False if there is no such flight. */
  async updateFlight(flight: FlightUpdate): Promise<boolean> {
    const { id, changes } = updateOf(flight);
    return this.#unlessMissing(new UpdateFlight({ flightId: id, changes }));
  }

  /** Details only, oldest first, without waypoints. */
  async queryFlights(
    filters: WithDates<Omit<FlightFilter, 'limit' | 'offset'>>,
    limit: number,
    offset: number,
  ): Promise<FlightSummary[]> {
    const { items } = await this.#orForgotten(
      this.queries.execute(
        new ListFlights({ ...datesAsText(filters), limit, offset }, this.#afterAllWrites()),
      ),
    );
    return [...items];
  }

  getFlightById(flightId: string): Promise<FlightView | null> {
    return this.#orNull(this.queries.execute(new GetFlight(flightId, this.#afterWrites(flightId))));
  }

  /** False if there is no such flight. */
  deleteFlight(flightId: string): Promise<boolean> {
    return this.#unlessMissing(new DeleteFlight({ flightId }));
  }

  /** In the order of their timestamps. */
  async getWaypoints(flightId: string, limit?: number): Promise<WaypointView[]> {
    return (
      (await this.#orNull(
        this.queries.execute(new GetWaypoints(flightId, limit, this.#afterWrites(flightId))),
      )) ?? []
    );
  }

  /** Returns the id. Throws `flight.not-found` and `waypoint.already-exists`. */
  async insertWaypoint(flightId: string, waypoint: WithDates<NewWaypoint>): Promise<string> {
    return (await this.#write(new AddWaypoint({ flightId, waypoint: datesAsText(waypoint) }))).waypointId;
  }

  /** False if there is no such waypoint. */
  async updateWaypoint(
    flightId: string,
    waypointId: string,
    waypoint: WithDates<WaypointFields>,
  ): Promise<boolean> {
    return this.#unlessMissing(new UpdateWaypoint({ flightId, waypoint: waypointOf(waypointId, waypoint) }));
  }

  /** Updates the waypoints that the flight has, and names those that it lacks. Throws `flight.not-found`. */
  async batchUpdateWaypoints(
    flightId: string,
    waypoints: readonly WithDates<Waypoint>[],
  ): Promise<BatchResult> {
    const { success, updatedCount, failedIds } = await this.#write(
      new UpdateWaypoints(
        datesAsText<{ flightId: string; waypoints: readonly Waypoint[] }>({ flightId, waypoints }),
      ),
    );
    return { success, updatedCount, failedIds };
  }

  async saveFlightState(state: WithDates<FlightStateOfFlight>): Promise<boolean> {
    const { flightId } = anObject('state', state);
    await this.#write(new SaveFlightState({ flightId, state: datesAsText(state) }));
    return true;
  }

  loadFlightState(flightId: string): Promise<FlightStateView | null> {
    return this.#orNull(this.queries.execute(new GetFlightState(flightId, this.#afterWrites(flightId))));
  }

  /** All matching flights, the one that changed first, first; `limit`, at most 1,000, and `offset` select a page. */
  async queryProcessingHistory(filters: WithDates<HistoryFilter>): Promise<FlightStateView[]> {
    const filter = datesAsText(anObject('filters', filters));
    const first = filter.offset ?? 0;
    const isAll = (filter.limit ?? undefined) === undefined;
    const found: FlightStateView[] = [];
    for (;;) {
      const page = isAll ? { ...filter, limit: MAX_PAGE, offset: first + found.length } : filter;
      const { items } = await this.#orForgotten(
        this.queries.execute(new GetProcessingHistory(page, this.#afterAllWrites())),
      );
      found.push(...items);
      if (!isAll || items.length < MAX_PAGE) return found;
    }
  }

  async saveFrameResult(flightId: string, frame: WithDates<FrameResult>): Promise<boolean> {
    await this.#write(new SaveFrameResult({ flightId, frame: datesAsText(frame) }));
    return true;
  }

  /** In the order of the frame ids. */
  async getFrameResults(flightId: string): Promise<FrameResultView[]> {
    return (
      (await this.#orNull(
        this.queries.execute(new GetFrameResults(flightId, {}, this.#afterWrites(flightId))),
      )) ?? []
    );
  }

  /** Degrees clockwise from north. */
  async saveHeading(
    flightId: string,
    frameId: number,
    heading: number,
    timestamp: Timestamp | Date,
  ): Promise<boolean> {
    const record = { frameId, heading, timestamp: timeAsText(timestamp) };
    await this.#write(new SaveHeading({ flightId, heading: record }));
    return true;
  }

  /** Oldest first; the last `lastN`, or all. */
  async getHeadingHistory(flightId: string, lastN?: number): Promise<HeadingView[]> {
    return (
      (await this.#orNull(
        this.queries.execute(new GetHeadingHistory(flightId, lastN, this.#afterWrites(flightId))),
      )) ?? []
    );
  }

  /** Degrees clockwise from north, or null for a flight without headings. */
  async getLatestHeading(flightId: string): Promise<number | null> {
    const latest = await this.#orNull(
      this.queries.execute(new GetLatestHeading(flightId, this.#afterWrites(flightId))),
    );
    return latest?.heading ?? null;
  }

  async saveImageMetadata(
    flightId: string,
    frameId: number,
    filePath: string,
    metadata: object,
  ): Promise<boolean> {
    await this.#write(new SaveImageMetadata({ flightId, image: { frameId, filePath, metadata } }));
    return true;
  }

  getImagePath(flightId: string, frameId: number): Promise<string | null> {
    return this.#orNull(
      this.queries.execute(new GetImagePath(flightId, frameId, this.#afterWrites(flightId))),
    );
  }

  async getImageMetadata(flightId: string, frameId: number): Promise<object | null> {
    const image = await this.#orNull(
      this.queries.execute(new GetImageMetadata(flightId, frameId, this.#afterWrites(flightId))),
    );
    return image?.metadata ?? null;
  }

  /** Throws `chunk.anchor-unknown-frame` if the anchor frame has no image. */
  async saveChunkState(flightId: string, chunk: ChunkHandle): Promise<boolean> {
    await this.#write(new SaveChunkState({ flightId, chunk }));
    return true;
  }

  async loadChunkStates(flightId: string): Promise<ChunkView[]> {
    return (
      (await this.#orNull(this.queries.execute(new GetChunkStates(flightId, this.#afterWrites(flightId))))) ??
      []
    );
  }

  /** False if there is no such chunk. */
  deleteChunkState(flightId: string, chunkId: string): Promise<boolean> {
    return this.#unlessMissing(new DeleteChunk({ flightId, chunkId }));
  }

  async #write<R extends CommandResult>(command: Command<R>): Promise<R> {
    const result = await this.commands.execute(command);
    this.#written.set(result.flightId, result.position);
    this.#lastPosition = result.position;
    return result;
  }

  async #unlessMissing(command: Command<CommandResult>): Promise<boolean> {
    try {
      await this.#write(command);
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  async #orNull<T>(read: Promise<T>): Promise<T | null> {
    try {
      return await this.#orForgotten(read);
    } catch (error) {
      if (isNotFound(error)) return null;
      throw error;
    }
  }

  /** A lost write is reported once; reads of what is there continue. */
  async #orForgotten<T>(read: Promise<T>): Promise<T> {
    try {
      return await read;
    } catch (error) {
      if (isLost(error)) {
        const position = error.data['position'];
        for (const [flightId, written] of this.#written.entries())
          if (written === position) this.#written.delete(flightId);
        if (this.#lastPosition === position) this.#lastPosition = undefined;
      }
      throw error;
    }
  }

  #afterWrites(flightId: string): ReadOptions {
    return { minPosition: this.#written.get(flightId) };
  }

  #afterAllWrites(): ReadOptions {
    return { minPosition: this.#lastPosition };
  }
}

/** Collects the changes of executeTransaction; all of them must be on one flight. */
export class FlightTransaction {
  readonly steps: Step[] = [];
  flightId = '';
  /** Why a change that an operation described cannot be part of this transaction. */
  refusal: WaylogError | undefined;
  #isClosed = false;

  /** It needs an id, so that the other changes can refer to it. */
  insertFlight(flight: WithDates<ImportedFlight> & { readonly id: string }): void {
    const { id } = this.#said(() => anObject('flight', flight));
    this.#add(id, { type: 'CreateFlight', flight: datesAsText(flight) });
  }
  updateFlight(flight: FlightUpdate): void {
    const { id, changes } = this.#said(() => updateOf(flight));
    this.#add(id, { type: 'UpdateFlight', changes });
  }
  deleteFlight(flightId: string): void {
    this.#add(flightId, { type: 'DeleteFlight' });
  }
  insertWaypoint(flightId: string, waypoint: WithDates<NewWaypoint>): void {
    this.#add(flightId, { type: 'AddWaypoint', waypoint: datesAsText(waypoint) });
  }
  updateWaypoint(flightId: string, waypointId: string, waypoint: WithDates<WaypointFields>): void {
    const fields = this.#said(() => waypointOf(waypointId, waypoint));
    this.#add(flightId, { type: 'UpdateWaypoint', waypoint: fields });
  }
  /** All of them or none: a waypoint that the flight lacks refuses the whole transaction. */
  batchUpdateWaypoints(flightId: string, waypoints: readonly WithDates<Waypoint>[]): void {
    const all = datesAsText<{ waypoints: readonly Waypoint[] }>({ waypoints });
    this.#add(flightId, { ...all, type: 'UpdateWaypoints', allOrNone: true });
  }
  saveFlightState(state: WithDates<FlightStateOfFlight>): void {
    const { flightId } = this.#said(() => anObject('state', state));
    this.#add(flightId, { type: 'SaveFlightState', state: datesAsText(state) });
  }
  saveFrameResult(flightId: string, frame: WithDates<FrameResult>): void {
    this.#add(flightId, { type: 'SaveFrameResult', frame: datesAsText(frame) });
  }
  saveHeading(flightId: string, frameId: number, heading: number, timestamp: Timestamp | Date): void {
    const record = { frameId, heading, timestamp: timeAsText(timestamp) };
    this.#add(flightId, { type: 'SaveHeading', heading: record });
  }
  saveImageMetadata(flightId: string, frameId: number, filePath: string, metadata: object): void {
    this.#add(flightId, { type: 'SaveImageMetadata', image: { frameId, filePath, metadata } });
  }
  saveChunkState(flightId: string, chunk: ChunkHandle): void {
    this.#add(flightId, { type: 'SaveChunkState', chunk });
  }
  mergeChunk(flightId: string, chunkId: string, into: string): void {
    this.#add(flightId, { type: 'MergeChunk', chunkId, into });
  }
  deleteChunkState(flightId: string, chunkId: string): void {
    this.#add(flightId, { type: 'DeleteChunk', chunkId });
  }

  /** Nothing more is recorded through it. */
  close(): void {
    this.#isClosed = true;
  }

  /** A change that cannot be read refuses the transaction, even if an operation catches the error. */
  #said<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (error instanceof WaylogError) this.refusal ??= error;
      throw error;
    }
  }

  #add(flightId: string, step: Step): void {
    if (this.#isClosed) {
      throw conflict(
        'transaction.ended',
        `The transaction has ended, and ${step.type} is not part of it: await what an operation does before it ends.`,
      );
    }
    if (this.steps.length > 0 && this.flightId !== flightId) {
      this.refusal ??= invalidInput([
        {
          field: `operations[${this.steps.length}]`,
          message: `is on flight ${flightId}, the transaction on ${this.flightId}: a transaction changes one flight`,
        },
      ]);
      throw this.refusal;
    }
    this.flightId = flightId;
    // Copied, so that later changes to the operation's objects do not count.
    this.steps.push(copyOf(step) as Step);
  }
}

/** Callers without types can pass nothing at all. */
function anObject<T>(field: string, value: T): T {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw invalidInput([{ field, message: 'must be an object' }]);
}

/** The names of a flight's parts and times, which a flight that was read has too. */
type OtherFields = 'waypoints' | 'geofences' | 'createdAt' | 'updatedAt';

function updateOf(flight: FlightUpdate): { id: string; changes: FlightChanges } {
  // Any other name is not a field of a flight, and is refused with the other bad fields.
  const {
    id,
    waypoints: _,
    geofences: __,
    createdAt: ___,
    updatedAt: ____,
    ...changes
  } = anObject('flight', flight) as FlightUpdate & { [field in OtherFields]?: unknown };
  return { id, changes };
}

function waypointOf(waypointId: string, waypoint: WithDates<WaypointFields>): Waypoint {
  const { id = waypointId, ...fields } = datesAsText<WaypointFields & { id?: string }>(
    anObject('waypoint', waypoint),
  );
  if (id === waypointId) return { ...fields, id };
  const message = `is ${JSON.stringify(id)}, and the waypoint that is to change is ${JSON.stringify(waypointId)}`;
  throw invalidInput([{ field: 'waypoint.id', message }]);
}

/** Copies plain lists and objects; anything else is checked with the command. */
function copyOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copyOf);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, copyOf(field)]));
}

const noOperation = (i: number, message: string) => invalidInput([{ field: `operations[${i}]`, message }]);

/** The most that one query returns. */
const MAX_PAGE = 1_000;

const isNotFound = (error: unknown): boolean => error instanceof WaylogError && error.kind === 'not-found';

const isLost = (error: unknown): error is WaylogError =>
  error instanceof WaylogError && error.code === 'position.lost';
