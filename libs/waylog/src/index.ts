export { commandsOf, queriesOf } from './by-name.js';
export { ClaimKind, type ClaimedValue, type ClaimKindOptions } from './claim-kind.js';
export * from './cli.js';
export { collectFiles, FILES_GRACE_MS, type CollectFilesOptions } from './collect-files.js';
export * from './command.js';
export * from './command-fields.js';
export * from './command-runner.js';
export * from './context.js';
export {
  at,
  deadline,
  Deadline,
  off,
  type AnyDeadline,
  type DeadlineChange,
  type DeadlineOptions,
} from './deadline.js';
export { DEFAULT_EVENTS, EventsQuery, getEvents, GetEvents, MAX_EVENTS } from './log.queries.js';
export { LoggedEvent, type EventBusOptions, type LoggedEventClass } from './event-bus.js';
export { EventReads, inTurns } from './event-reads.js';
export { given } from './given.js';
export type { StillInTables } from './handlers.js';
export { ReferencesInLog, refuseOtherLog } from './file-references.js';
export { FileSchedule, type CollectionStanding, type FilesStanding } from './file-schedule.js';
export * from './observing.js';
export * from './opened.js';
export * from './options.js';
export * from './paged.js';
export * from './query.js';
export * from './read-options.js';
export * from './reactor.js';
export * from './reactors.module.js';
export * from './read-weight.js';
export { readsOf } from './reads-of.js';
export type { Reference, References } from './reference.js';
export * from './running-contexts.js';
export * from './several-commands.js';
export * from './several-contexts.js';
export * from './stream-reads.js';
export * from './stream-type.js';
export * from './tables-of.js';
export * from './tokens.js';
export * from './waylog.module.js';
export { declaredWebhook, Webhooks } from './webhooks.js';
