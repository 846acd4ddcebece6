import type { DomainEvent } from '#lib/event-store';
import { parseTimestamp, type Timestamp } from '#lib/platform';
import {
  Projection,
  remove,
  removeWhere,
  upsert,
  type FoldedEvent,
  type TableDefinition,
} from '#lib/projections';
import type { Due } from '#lib/reactors';
import { newId, type StreamCommand } from './command.js';
import { refuseName } from './names.js';
import { causedBy } from './reactor.js';
import type { StreamType } from './stream-type.js';

/** What an event does to a deadline. */
export type DeadlineChange =
  | { readonly at: Timestamp; readonly key?: string; readonly details?: object }
  | { readonly off: true; readonly key?: string };

/** Sets a deadline, or moves it. `key` tells several of one thing apart; `details` is what its command needs to know. */
export const at = (
  time: Timestamp,
  more: { readonly key?: string; readonly details?: object } = {},
): DeadlineChange => ({ at: time, ...more });

/** It has happened: the deadline is off. */
export const off = (key?: string): DeadlineChange => ({ off: true, ...(key !== undefined && { key }) });

export interface DeadlineOptions<Details> {
  /** Increases with every change of what events do to it: its table is then made again from the log. */
  readonly version: number;
  /** The command that is sent at that time. Pure: the same deadline always makes the same command. */
  readonly send: (come: {
    readonly id: string;
    readonly key: string;
    readonly dueAt: Timestamp;
    readonly details: Details;
  }) => StreamCommand;
  /** Refusals of the command that say that there is nothing to do any more. */
  readonly accepts?: readonly string[];
  /** How often the command is tried before it is parked; default 12, in about half an hour. */
  readonly attempts?: number;
}

/**
 * A command at a time, unless it has happened. Events set it and put it off; a table holds what is set, folded like any
 * other:
 *
 *     deadline('lease', taskStream, { version: 1, send: ({ id }) => new ExpireLease({ taskId: id }) })
 *       .on('TaskClaimed', ({ data }) => at(data.leaseUntil))
 *       .on('TaskCompleted', () => off())
 *
 * The command is sent on what the table knows. Its decision sees everything, and decides: if it has happened meanwhile, no
 * event. Its event has to put the deadline off; a deadline that stays set is not sent again.
 */
export class Deadline<State = unknown, Event extends DomainEvent = DomainEvent, Details = never> {
  readonly #changes = new Map<
    string,
    (event: FoldedEvent<never>) => DeadlineChange | readonly DeadlineChange[]
  >();

  constructor(
    readonly name: string,
    readonly stream: StreamType<State, Event>,
    readonly options: DeadlineOptions<Details>,
  ) {
    refuseName('deadline', name, 40);
  }

  on<Name extends Event['type']>(
    type: Name,
    change: (
      event: FoldedEvent<Extract<Event, { readonly type: Name }>['data']>,
    ) => DeadlineChange | readonly DeadlineChange[],
  ): this {
    if (!this.stream.eventTypes.has(type))
      throw new Error(
        `The deadline ${this.name} waits for ${type}, which no ${this.stream.category.name} has.`,
      );
    this.#changes.set(type, change);
    return this;
  }

  /** The table of what is set, in the schema of a context. */
  projection(context: string): Projection {
    const table = deadlineTable(context, this.name);
    const { category } = this.stream;
    const projection = new Projection(table.name, this.options.version, table);
    for (const [type, change] of this.#changes)
      projection.on(type, (event) => {
        // Several categories can have an event of one type.
        if (!category.includes(event.streamId)) return [];
        const id = category.idOf(event.streamId);
        return [change(event as FoldedEvent<never>)].flat().map((one) => {
          const key = one.key ?? '';
          return 'off' in one
            ? remove({ id, key })
            : upsert({
                id,
                key,
                due_at: timeOf(one.at, this.name),
                set_by: event.revision,
                details: one.details ?? {},
              });
        });
      });
    // `details` can hold what is erased.
    for (const type of this.stream.events?.erasedBy ?? [])
      if (!this.#changes.has(type))
        projection.on(type, ({ streamId }) =>
          category.includes(streamId) ? removeWhere({ id: category.idOf(streamId) }) : [],
        );
    return projection;
  }

  /** The command of one that has come, with its id and its sender. */
  commandFor({ id, key, dueAt, setBy, details }: Due): StreamCommand {
    return causedBy(this.options.send({ id, key, dueAt, details: details as Details }), {
      commandId: newId(`${this.stream.category.streamOf(id)} ${setBy}`, `deadline ${this.name} ${key}`),
      actor: `deadline:${this.name}`,
    });
  }
}

/** PostgreSQL reads more as a time than is one, such as `now`, which is another one when the table is made again. */
function timeOf(time: Timestamp, deadline: string): Timestamp {
  const parsed = typeof time === 'string' ? parseTimestamp(time) : undefined;
  if (parsed === undefined)
    throw new Error(`The deadline ${deadline} is set to ${JSON.stringify(time)}, which is no time.`);
  return parsed;
}

/** One of any stream. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- as of AnyStreamType
export type AnyDeadline = Deadline<any, any, any>;

export function deadline<State, Event extends DomainEvent, Details = Record<string, never>>(
  name: string,
  stream: StreamType<State, Event>,
  options: DeadlineOptions<Details>,
): Deadline<State, Event, Details> {
  return new Deadline(name, stream, options);
}

/** The table of a deadline. */
export const deadlineTable = (context: string, name: string): TableDefinition => ({
  schema: context,
  name: `due_${name.replaceAll('-', '_')}`,
  comment: `What the deadline ${name} is set to. Its commands are sent when their time has come.`,
  columns: { id: 'text', key: 'text', due_at: 'timestamptz', set_by: 'integer', details: 'jsonb' },
  key: ['id', 'key'],
  indexes: { [`due_${name.replaceAll('-', '_')}_at`]: ['due_at'] },
  fillfactor: 80,
});
