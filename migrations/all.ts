import { EventLog1790000001000 } from './1790000001000-event-log.js';
import { Projections1790000002000 } from './1790000002000-projections.js';
import { FlightTables1790000003000 } from './1790000003000-flight-tables.js';
import { FlightDays1790000004000 } from './1790000004000-flight-days.js';
import { ProjectionOperations1790000005000 } from './1790000005000-projection-operations.js';
import { Hypertables1790000006000 } from './1790000006000-hypertables.js';
import { ReaderRole1790000007000 } from './1790000007000-reader-role.js';
import { ModelRegistry1790000008000 } from './1790000008000-model-registry.js';
import { FoldedLog1790000009000 } from './1790000009000-folded-log.js';
import { AccessKeys1790000010000 } from './1790000010000-access-keys.js';
import { DatabaseRoles1790000011000 } from './1790000011000-database-roles.js';
import { AuditChain1790000012000 } from './1790000012000-audit-chain.js';
import { DataKeys1790000013000 } from './1790000013000-data-keys.js';
import { AppendPlans1790000014000 } from './1790000014000-append-plans.js';
import { RollupsFollowed1790000015000 } from './1790000015000-rollups-followed.js';
import { NoStatisticsOfErasableColumns1790000020000 } from './1790000020000-no-statistics-of-erasable-columns.js';
import { ErasedForGood1790000021000 } from './1790000021000-erased-for-good.js';
import { UnfoldableEvents1790000022000 } from './1790000022000-unfoldable-events.js';
import { LogHistories1790000023000 } from './1790000023000-log-histories.js';
import { OriginOfKeys1790000025000 } from './1790000025000-origin-of-keys.js';
import { ProjectorsApart1790000027000 } from './1790000027000-projectors-apart.js';
import { ReferenceIndexes1790000024000 } from './1790000024000-reference-indexes.js';
import { AcceptedLosses1790000026000 } from './1790000026000-accepted-losses.js';
import { KnownContexts1790000028000 } from './1790000028000-known-contexts.js';
import { AppendTogether1790000029000 } from './1790000029000-append-together.js';
import { ImageContents1790000030000 } from './1790000030000-image-contents.js';
import { ErasingTypes1790000031000 } from './1790000031000-erasing-types.js';
import { Reactors1790000032000 } from './1790000032000-reactors.js';
import { Webhooks1790000033000 } from './1790000033000-webhooks.js';

/** In the order in which they run; each has a `down`. */
export const migrations = [
  EventLog1790000001000,
  Projections1790000002000,
  FlightTables1790000003000,
  FlightDays1790000004000,
  ProjectionOperations1790000005000,
  Hypertables1790000006000,
  ReaderRole1790000007000,
  ModelRegistry1790000008000,
  FoldedLog1790000009000,
  AccessKeys1790000010000,
  DatabaseRoles1790000011000,
  AuditChain1790000012000,
  DataKeys1790000013000,
  AppendPlans1790000014000,
  RollupsFollowed1790000015000,
  NoStatisticsOfErasableColumns1790000020000,
  ErasedForGood1790000021000,
  UnfoldableEvents1790000022000,
  LogHistories1790000023000,
  ReferenceIndexes1790000024000,
  OriginOfKeys1790000025000,
  AcceptedLosses1790000026000,
  ProjectorsApart1790000027000,
  KnownContexts1790000028000,
  AppendTogether1790000029000,
  ImageContents1790000030000,
  ErasingTypes1790000031000,
  Reactors1790000032000,
  Webhooks1790000033000,
];

/**
 * Tables and views that migrations create differently in each edition of TimescaleDB, as those before
 * `rollups-followed` do with `flight.frame_minutes`: the snapshot, which is taken in one edition, leaves them out. A
 * model still says which columns they have.
 */
export const differsByEdition: readonly string[] = ['flight.frame_minute_parts', 'flight.frame_minutes'];
