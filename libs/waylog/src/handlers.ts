import { Inject, type Provider, type Type } from '@nestjs/common';
import { CommandHandler, type ICommandHandler, type IQuery, type IQueryHandler } from '@nestjs/cqrs';
import { DataKeys, type Appended } from '#lib/event-store';
import { queriesOf } from './by-name.js';
import type { AnySlice, StreamCommand } from './command.js';
import type { Context } from './context.js';
import { observed, tell, warnOfObserver } from './observing.js';
import type { WaylogOptions } from './options.js';
import { RunningContexts } from './running-contexts.js';
import { WAYLOG_OPTIONS } from './tokens.js';

/** The handlers of all commands of a context. */
export const commandHandlersOf = ({ commands, erasures }: Context): Type[] =>
  commands.map((slice) =>
    named(slice, erasures.includes(slice) ? erasingHandlerOf(slice) : handlerOf(slice)),
  );

/** The handler of a command that only decides: all do the same. */
function handlerOf(slice: AnySlice): Type<ICommandHandler<StreamCommand, Appended>> {
  class Handler implements ICommandHandler<StreamCommand, Appended> {
    constructor(@Inject(RunningContexts) private readonly contexts: RunningContexts) {}

    execute(command: StreamCommand): Promise<Appended> {
      return this.contexts.runnerOf(slice.stream).execute(slice, command);
    }
  }
  return Handler;
}

/** The handlers of all queries of contexts, and of the log: each observed, whichever bus it is called over. */
export const queryHandlersOf = (contexts: readonly Context[]): Provider[] =>
  [...queriesOf(contexts).values()].map(({ handler }) => ({
    provide: handler,
    useClass: observing(handler),
  }));

function observing(handler: Type<{ execute(query: IQuery): Promise<unknown> }>): Type<IQueryHandler> {
  class Observing extends handler {
    @Inject(WAYLOG_OPTIONS) readonly waylogOptions!: WaylogOptions;

    constructor(...injected: unknown[]) {
      super(...injected);
      const execute = this.execute.bind(this);
      // Not a method: the handler can have one as its own property.
      this.execute = (query: IQuery) => {
        const { onQuery } = this.waylogOptions;
        return observed(query, onQuery && tell(onQuery, warnOfObserver), () => execute(query));
      };
    }
  }
  Object.defineProperty(Observing, 'name', { value: handler.name });
  return Observing;
}

/** The answer to an erasure while the tables still hold what was erased. */
export interface StillInTables {
  /** Why, and what has to happen first. */
  readonly waits?: string;
}

/** How long the tables can take to follow before the answer says that they have not. */
const TABLES_MS = 5_000;

/**
 * The handler of an erasure. It answers when the key is deleted and the tables have followed, or with the reason why
 * they have not. The key is deleted with the append of the erasure. A client without an answer sends the command again;
 * a repeat appends nothing and deletes what was left.
 */
function erasingHandlerOf(slice: AnySlice): Type<ICommandHandler<StreamCommand, Appended & StillInTables>> {
  class Handler implements ICommandHandler<StreamCommand, Appended & StillInTables> {
    constructor(
      @Inject(RunningContexts) private readonly contexts: RunningContexts,
      @Inject(DataKeys) private readonly keys: DataKeys,
    ) {}

    async execute(command: StreamCommand): Promise<Appended & StillInTables> {
      const { category, key } = slice.stream;
      const { watch } = this.contexts.ofStream(slice.stream);
      const result = await this.contexts.runnerOf(slice.stream).execute(slice, command);
      const streamId = category.streamOf(Reflect.get(command, key) as string);
      await this.keys.forget(streamId);
      const waits = await watch.lacks(streamId, result.position, TABLES_MS);
      return waits === undefined ? result : { ...result, waits };
    }
  }
  return Handler;
}

function named(slice: AnySlice, handler: Type): Type {
  Object.defineProperty(handler, 'name', { value: `${slice.command.name}Handler` });
  CommandHandler(slice.command as Type<StreamCommand>)(handler);
  return handler;
}
