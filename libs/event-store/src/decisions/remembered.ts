import { conflict, type WaylogError } from '#lib/platform';
import type { RecordedEvent } from '../event-store.js';
import type { Appended, CommandContext } from './decider.js';

/** The first result of a command that carried its own id. */
export interface Remembered extends Appended {
  readonly command: string;
  readonly fingerprint?: string;
  readonly answer?: object;
}

export const NO_ANSWER: object = Object.freeze({});

export const hasContent = (answer: object): boolean => answer !== NO_ANSWER && Object.keys(answer).length > 0;

/** What to remember of a command that came to this. */
export const rememberedOf = (
  { command, fingerprint }: Pick<CommandContext, 'command' | 'fingerprint'>,
  { revision, position }: Appended,
  answer: object,
): Remembered => ({
  command,
  ...(fingerprint && { fingerprint }),
  revision,
  position,
  ...(hasContent(answer) && { answer }),
});

/** The command that recorded an event, as its metadata tell it. */
export const rememberedIn = ({ metadata, revision, position }: RecordedEvent): Remembered =>
  rememberedOf(
    { command: metadata.command, ...(metadata.fingerprint && { fingerprint: metadata.fingerprint }) },
    { revision, position },
    (metadata['answer'] as object | undefined) ?? NO_ANSWER,
  );

/** Refuses a command with the id of another one. */
export function refusedAsOther(
  commandId: string,
  first: Pick<CommandContext, 'command' | 'fingerprint'>,
  now: CommandContext,
): WaylogError | undefined {
  if (first.command === now.command && first.fingerprint === now.fingerprint) return undefined;
  return conflict(
    'command.id-reused',
    `Command id ${commandId} belongs to another command that was accepted earlier (${first.command}); this ${now.command} is not the ` +
      `same. Nothing was recorded. Give each command an id of its own.`,
    { commandId },
  );
}
