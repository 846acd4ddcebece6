import { Inject, Injectable } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import { v7 as uuid } from 'uuid';
import { changes, streamOf, transact, type CommandResult, type FlightCommand } from '#lib/flight';
import { EVENT_STORE, type CommandOptions } from '#lib/waylog';
import type { EventStore } from '#lib/event-store';
import { badFields, invalidInput, schemaOf, unavailable, WaylogError, type FieldError } from '#lib/platform';
import { goingOn, secondsSince, within, type GoesOn } from './deadline.js';
import type { CommandRequest, CommandResponse } from './models.js';

type CommandClass = new (fields: object) => FlightCommand;

/** Every command by the name of its class. */
export const commandClasses: ReadonlyMap<string, CommandClass> = new Map(
  [...changes, transact].map(({ command }) => [command.name, command as unknown as CommandClass]),
);

/** Fields that the gateway sets itself, so the parameters cannot. */
const NOT_PARAMETERS = ['commandId', 'actor', 'onBehalfOf', 'origin'] as const;

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
    const command = commandOf(request, { ...sender, commandId });
    return this.execute(command, commandId, request.timeout, goesOn);
  }

  async execute(
    command: FlightCommand,
    commandId: string,
    timeout: number | null | undefined,
    goesOn: GoesOn = () => undefined,
  ): Promise<CommandResponse> {
    const began = performance.now();
    const work = this.bus.execute(command).then(async ({ flightId, revision, position, ...result }) => ({
      success: true,
      affectedRows: await this.#recorded(flightId, revision, commandId),
      executionTime: secondsSince(began),
      flightId,
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
  async #recorded(flightId: string, revision: number, commandId: string): Promise<number> {
    let recorded = 0;
    for (let to = revision, size = 16; to >= 0; to -= size, size = 1_000) {
      const fromRevision = Math.max(0, to - size + 1);
      const events: CommandResult['revision'][] = [];
      let others = -1;
      for await (const page of this.store.readStream(streamOf(flightId), { fromRevision, toRevision: to })) {
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
  { commandId, actor, origin }: CommandOptions,
) {
  const Command = commandClasses.get(name);
  if (!Command) throw unknownCommand(name);
  const all = { ...parameters };
  refuseFields(all);
  // Only known fields are copied: no parameter can use the name of a property that every object has.
  const names = fieldsOf(Command);
  const fields = Object.fromEntries(Object.entries(all).filter(([field]) => names.has(field)));
  const command = new Command({ ...fields, commandId, actor, onBehalfOf: serviceName, origin });
  const made = command as unknown as Record<string, unknown>;
  const errors = [
    ...Object.keys(all)
      .filter((field) => !names.has(field))
      .map((field) => ({ field, message: 'is not a field of this command' })),
    ...badFields(Command, command),
    // Some fields are derived from others: a caller that gives them too must give the same value.
    ...Object.keys(fields)
      .filter((field) => made[field] !== fields[field])
      .map((field) => ({
        field,
        message: `follows from the other parameters, which make it ${JSON.stringify(made[field])}`,
      })),
  ];
  if (errors.length > 0) throw underParameters(invalidInput(errors));
  return command;
}

const knownFields = new Map<CommandClass, ReadonlySet<string>>();

function fieldsOf(Command: CommandClass): ReadonlySet<string> {
  let fields = knownFields.get(Command);
  if (!fields) {
    fields = new Set(Object.keys(schemaOf(Command)['properties'] as object));
    knownFields.set(Command, fields);
  }
  return fields;
}

export function refuseFields(fields: object): void {
  const errors: FieldError[] = NOT_PARAMETERS.filter((field) => field in fields).map((field) => ({
    field: `parameters.${field}`,
    message: {
      commandId: 'is not a parameter: send it as Idempotency-Key',
      actor: 'is not a parameter: the actor is whose key the request carries',
      origin: 'is not a parameter: it is where the request comes from',
      onBehalfOf: 'is not a parameter: send it as serviceName',
    }[field],
  }));
  if (errors.length > 0) throw invalidInput(errors);
}

export const unknownCommand = (name: string) =>
  invalidInput(
    [
      {
        field: 'command',
        message: `is ${JSON.stringify(name)}, which is no command. There are ${[...commandClasses.keys()].join(', ')}`,
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
