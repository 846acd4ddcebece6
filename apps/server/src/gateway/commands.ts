import { Inject, Injectable } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import { v7 as uuid } from 'uuid';
import {
  commandOfFields,
  commandsOf,
  EVENT_STORE,
  type AnySlice,
  type CommandOptions,
  type StreamCommand,
} from '#lib/waylog';
import type { Appended, EventStore } from '#lib/event-store';
import { invalidInput, unavailable, WaylogError, type Class, type FieldError } from '#lib/platform';
import { contexts } from '../../../contexts.js';
import { goingOn, secondsSince, within, type GoesOn } from './deadline.js';
import type { CommandRequest, CommandResponse } from './models.js';

/** Every command by the name of its class. */
export const namedCommands = commandsOf(contexts);

/** Fields that the gateway sets itself, so the parameters cannot. */
const NOT_PARAMETERS = ['commandId', 'actor', 'onBehalfOf', 'origin', 'traceparent'] as const;

/** Runs commands by their names on the command bus. */
@Injectable()
export class NamedCommands {
  constructor(
    private readonly bus: CommandBus,
    @Inject(EVENT_STORE) private readonly store: EventStore,
  ) {}

  /**
   * Throws `command.unknown`, `input.invalid` with fields such as `parameters.waypoint.lat`, `command.timeout`, and the
   * refusal of the command.
   */
  async run(request: CommandRequest, sender: CommandOptions, goesOn?: GoesOn): Promise<CommandResponse> {
    const commandId = sender.commandId ?? uuid();
    const { slice, command } = commandOf(request, { ...sender, commandId });
    return this.execute(slice, command, commandId, request.timeout, goesOn);
  }

  async execute(
    { stream: { category, key } }: Pick<AnySlice, 'stream'>,
    command: StreamCommand,
    commandId: string,
    timeout: number | null | undefined,
    goesOn: GoesOn = () => undefined,
  ): Promise<CommandResponse> {
    const began = performance.now();
    const work = this.bus
      .execute<StreamCommand, Appended & Readonly<Record<string, unknown>>>(command)
      .then(async ({ [key]: id, revision, position, ...result }) => ({
        success: true,
        affectedRows: await this.#recorded(category.streamOf(String(id)), revision, commandId),
        executionTime: secondsSince(began),
        [key]: id,
        revision,
        position,
        ...(Object.keys(result).length > 0 && { result }),
      }));
    return within(timeout, goingOn(goesOn, work), (seconds) => commandTimeout(commandId, seconds)).catch(
      (error: unknown) => {
        throw underParameters(error);
      },
    );
  }

  /** The events of a command are the last ones up to the revision that it returned, as far as they carry its id. */
  async #recorded(streamId: string, revision: number, commandId: string): Promise<number> {
    let recorded = 0;
    for (let to = revision, size = 16; to >= 0; to -= size, size = 1_000) {
      const fromRevision = Math.max(0, to - size + 1);
      const events: number[] = [];
      let others = -1;
      for await (const page of this.store.readStream(streamId, { fromRevision, toRevision: to })) {
        for (const event of page) {
          events.push(event.revision);
          if (event.metadata.commandId !== commandId) others = event.revision;
        }
      }
      recorded += events.filter((r) => r > others).length;
      if (others >= 0) break;
    }
    return recorded;
  }
}

/** The command that a request names. */
function commandOf(
  { command: name, parameters, serviceName }: CommandRequest,
  { commandId, actor, origin, traceparent }: CommandOptions,
) {
  const slice = namedCommands.get(name);
  if (!slice) throw unknownCommand(name);
  const fields = { ...parameters };
  refuseFields(fields);
  const sender = { commandId, actor, onBehalfOf: serviceName, origin, traceparent };
  const { command, errors } = commandOfFields(slice.command as Class<StreamCommand>, fields, sender);
  if (errors.length > 0) throw underParameters(invalidInput(errors));
  return { slice, command };
}

export function refuseFields(fields: object): void {
  const errors: FieldError[] = NOT_PARAMETERS.filter((field) => field in fields).map((field) => ({
    field: `parameters.${field}`,
    message: {
      commandId: 'is not a parameter: send it as Idempotency-Key',
      actor: 'is not a parameter: the actor is whose key the request carries',
      origin: 'is not a parameter: it is where the request comes from',
      onBehalfOf: 'is not a parameter: send it as serviceName',
      traceparent: 'is not a parameter: send it as the header traceparent',
    }[field],
  }));
  if (errors.length > 0) throw invalidInput(errors);
}

export const unknownCommand = (name: string) =>
  invalidInput(
    [
      {
        field: 'command',
        message: `is ${JSON.stringify(name)}, which is no command. There are ${[...namedCommands.keys()].join(', ')}`,
      },
    ],
    'command.unknown',
  );

/** Bad fields of a command are bad fields of the request's parameters. */
export function underParameters(error: unknown, cut = ''): unknown {
  if (!(error instanceof WaylogError) || error.code !== 'input.invalid') return error;
  const errors = (error.data['errors'] as readonly FieldError[] | undefined) ?? [];
  return invalidInput(
    errors.map(({ field, message }) => ({
      field:
        field === '' ? 'parameters' : `parameters.${field.startsWith(cut) ? field.slice(cut.length) : field}`,
      message,
    })),
    error.code,
    error.data['hasMoreErrors'] === true,
  );
}

export const commandTimeout = (commandId: string, seconds: number) =>
  unavailable(
    'command.timeout',
    `No answer within ${seconds} s. The command goes on and MAY HAVE BEEN RECORDED. It is safe to send it again with ` +
      `Idempotency-Key: ${commandId}. Then it is recorded once, and you get its answer.`,
    { commandId },
  );
