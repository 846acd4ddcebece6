// What an application of its own needs of Waylog: `import { WaylogModule, context } from 'waylog'`.

export {
  context,
  WaylogModule,
  Opened,
  type Context,
  type ContextPart,
  type ContextParts,
  type WaylogOptions,
  type CommandObserver,
  type CommandOutcome,
} from '#lib/waylog';
export { migrate, type MigrationOptions } from '../migrations/index.js';

// Streams and commands.
export {
  slicesOn,
  StreamCommand,
  severalCommands,
  ClaimKind,
  newId,
  type AnySlice,
  type AnyStreamType,
  type ClaimedValue,
  type ClaimKindOptions,
  type CommandOptions,
  type Decide,
  type DoorCheck,
  type Reference,
  type References,
  type Sent,
  type Slice,
  type StreamType,
} from '#lib/waylog';
export {
  Category,
  deciderOf,
  LayeredMap,
  PackedMap,
  type Appended,
  type Decider,
  type Decision,
  type DomainEvent,
  type EventMetadata,
  type EventStore,
  type Json,
  type JsonObject,
  type KnownEvents,
  type Position,
  type RecordedEvent,
} from '#lib/event-store';

// Tables.
export {
  Projection,
  remove,
  removeWhere,
  update,
  upsert,
  type FoldedEvent,
  type Row,
  type RowChange,
  type RowSource,
  type TableDefinition,
  type Value,
} from '#lib/projections';

// Queries.
export {
  AsOf,
  byPage,
  byRows,
  checked,
  EventReads,
  heavy,
  light,
  query,
  readsOf,
  StreamReads,
  whole,
  type NamedQuery,
  type Page,
  type ReadOptions,
  type ReadWeight,
} from '#lib/waylog';
export { LiveRows, loadOmissions } from '#lib/projections';

// What events cause.
export {
  at,
  deadline,
  LoggedEvent,
  off,
  reactor,
  type DeadlineOptions,
  type EventBusOptions,
  type ReactedEvent,
  type Reacting,
  type ReactorOptions,
} from '#lib/waylog';
export { DiskFileStore, Files } from '#lib/files';

// Rules of fields, and errors.
export {
  conflict,
  Example,
  FreeText,
  invalidInput,
  IsDuration,
  IsId,
  IsJsonObject,
  IsKnownId,
  IsName,
  IsText,
  IsTimestamp,
  Label,
  Meaning,
  Nested,
  notFound,
  Optional,
  Sample,
  unavailable,
  WaylogError,
  type ErrorKind,
  type FieldError,
  type Timestamp,
} from '#lib/platform';

// Injected where an application needs more than the two buses.
export {
  EVENT_STORE,
  LOG_POOL,
  QUERY_POOL,
  RunningContexts,
  RunningReactors,
  TABLES_POOL,
  Webhooks,
} from '#lib/waylog';

// Routes of a context in Waylog's own server.
export {
  Answers,
  Count,
  Freshness,
  Id,
  list,
  listOf,
  Needs,
  object,
  Operation,
  pageOf,
  Sender,
  shape,
  Tag,
  text,
  time,
  ValidBody,
  ValidQuery,
} from '#lib/rest';
