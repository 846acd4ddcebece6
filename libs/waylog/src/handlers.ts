import { Inject, type Type } from '@nestjs/common';
import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import type { Appended } from '#lib/event-store';
import type { AnySlice, StreamCommand } from './command.js';
import type { Context } from './context.js';
import { RunningContexts } from './running-contexts.js';

/** The handler of a command that only decides: all do the same. */
function handlerOf(slice: AnySlice): Type<ICommandHandler<StreamCommand, Appended>> {
  class Handler implements ICommandHandler<StreamCommand, Appended> {
    constructor(@Inject(RunningContexts) private readonly contexts: RunningContexts) {}

    execute(command: StreamCommand): Promise<Appended> {
      return this.contexts.runnerOf(slice.stream).execute(slice, command);
    }
  }
  Object.defineProperty(Handler, 'name', { value: `${slice.command.name}Handler` });
  CommandHandler(slice.command as Type<StreamCommand>)(Handler);
  return Handler;
}

/** The handlers of all commands of a context. */
export const commandHandlersOf = ({ commands, commandHandlers }: Context): Type[] =>
  commands.map((slice) => commandHandlers.get(slice) ?? handlerOf(slice));
