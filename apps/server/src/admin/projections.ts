import { Controller, Delete, Get, Inject, Post } from '@nestjs/common';
import { IsBoolean, IsIn, IsNotEmpty, MaxLength } from 'class-validator';
import pg from 'pg';
import type { EventStore } from '#lib/event-store';
import {
  DATABASE_ACCESS,
  EVENT_STORE,
  TABLES_POOL,
  tablesOf,
  projectorsOf,
  type Context,
  RunningContexts,
  allDiscarded,
  allParked,
  allVerified,
  contextOf,
  namesOfTables,
  tablesCalled,
  tablesNamed,
  verifyTables,
} from '#lib/waylog';
import { Example, IsText, notFound, Optional, counted } from '#lib/platform';
import {
  acceptLoss,
  DiscardedEvent,
  discardRebuild,
  integrityFindings,
  IntegrityFinding,
  ParkedStream,
  pauseProjections,
  ProjectionStatus,
  rebuild,
  resumeProjections,
  unpark,
  UnparkResult,
  VerificationProgress,
  notParked,
} from '#lib/projections';
import { retainedSince, type DatabaseAccess } from '#lib/timescale';
import { Answers, Id, Needs, Operation, Tag, ValidBody, ValidQuery } from '#lib/rest';
import { Job, Jobs } from './jobs.js';
import { samples } from './samples.js';

/** The actor, until users can be told apart. */
const BY = 'http';

@Example<Reason>({ reason: 'Disk is nearly full; ticket 4711' })
class Reason {
  /** The reason, for others who see it later. */
  @IsText() @IsNotEmpty() @MaxLength(1_000) readonly reason!: string;
}

@Example<VerifyRequest>({ repair: false })
class VerifyRequest {
  /** Rewrite the rows that differ, and nothing else. */
  @Optional() @IsBoolean() readonly repair?: boolean;
}

class FindingsQuery {
  /** `true` leaves out what was repaired or no longer exists. */
  @Optional() @IsIn(['true', 'false']) readonly open?: 'true' | 'false';
}

/** The tables and the projector that keeps them. */
@Tag('admin')
@Controller('v1/admin')
export class ProjectionsController {
  constructor(
    @Inject(TABLES_POOL) private readonly pool: pg.Pool,
    @Inject(EVENT_STORE) private readonly store: EventStore,
    private readonly contexts: RunningContexts,
    private readonly jobs: Jobs,
    @Inject(DATABASE_ACCESS) private readonly access: DatabaseAccess,
  ) {}

  @Get('projections')
  @Needs('operator')
  @Operation({ summary: 'List projections', description: 'State, lag and throughput of every table.' })
  @Answers(200, [ProjectionStatus])
  list() {
    return this.contexts.states(this.pool);
  }

  @Post('projectors/:projector/pause')
  @Needs('admin')
  @Operation({
    summary: 'Pause a projector',
    description: 'Stops writing its tables, in every process. Commands are still accepted.',
  })
  @Answers(200, [ProjectionStatus])
  async pause(@Id('projector', samples.projector) projector: string, @ValidBody(Reason) { reason }: Reason) {
    await pauseProjections(this.pool, projectorsOf(this.#contextNamed(projector)), { reason, by: BY });
    return this.list();
  }

  @Post('projectors/:projector/resume')
  @Needs('admin')
  @Operation({ summary: 'Resume a projector' })
  @Answers(200, [ProjectionStatus])
  async resume(@Id('projector', samples.projector) projector: string) {
    await resumeProjections(this.pool, projectorsOf(this.#contextNamed(projector)));
    return this.list();
  }

  @Post('projections/:projection/rebuild')
  @Needs('admin')
  @Operation({
    summary: 'Rebuild a table',
    description:
      'Makes the table beside the live one and swaps them; continues a rebuild that was cut off. A job: cancel it to stop.',
  })
  @Answers(202, Job)
  rebuild(@Id('projection', samples.projection) name: string) {
    const options = this.#fold(name);
    return this.jobs.start(`rebuild ${name}`, async ({ signal, isCancelled, report }) => {
      try {
        return await rebuild({
          ...options,
          retainedSince: await retainedSince(this.pool),
          signal,
          onProgress: (events, total) =>
            report(`${events} of about ${counted(total, 'event')}`, events / total),
        });
      } catch (error) {
        // A server that stops keeps the partial rebuild for the next one to continue; a cancelled rebuild is removed.
        if (isCancelled()) await discardRebuild(options);
        throw error;
      }
    });
  }

  @Delete('projections/:projection/rebuild')
  @Needs('admin')
  @Operation({ summary: 'Discard an unfinished rebuild' })
  @Answers(204)
  async discardRebuild(@Id('projection', samples.projection) name: string) {
    await discardRebuild(this.#fold(name));
  }

  @Get('parked')
  @Needs('operator')
  @Operation({
    summary: 'List parked streams',
    description: 'Streams whose next event cannot be projected.',
  })
  @Answers(200, [ParkedStream])
  parked() {
    return allParked(this.contexts.declared, this.pool);
  }

  @Get('discarded')
  @Needs('operator')
  @Operation({ summary: 'List discarded events' })
  @Answers(200, [DiscardedEvent])
  discarded() {
    return allDiscarded(this.contexts.declared, this.pool);
  }

  @Post('parked/:stream/retry')
  @Needs('admin')
  @Operation({ summary: 'Retry a parked stream', description: 'Folds its events again.' })
  @Answers(200, UnparkResult)
  retry(@Id('stream', samples.stream) streamId: string) {
    return unpark(this.#unpark(streamId));
  }

  @Post('parked/:stream/discard')
  @Needs('admin')
  @Operation({
    summary: 'Discard the event that parks a stream',
    description: 'Leaves it out of the tables for good, and continues with the events after it.',
  })
  @Answers(200, UnparkResult)
  discard(@Id('stream', samples.stream) streamId: string, @ValidBody(Reason) { reason }: Reason) {
    return unpark({ ...this.#unpark(streamId), discard: { reason, by: BY } });
  }

  @Post('parked/:stream/accept')
  @Needs('admin')
  @Operation({
    summary: 'Accept that the log has lost events of a parked stream',
    description: 'Goes on without them for good; its rows stay as they are, and no alert counts it.',
  })
  @Answers(200, ParkedStream)
  accept(@Id('stream', samples.stream) streamId: string, @ValidBody(Reason) { reason }: Reason) {
    return acceptLoss({ ...this.#unpark(streamId), reason, by: BY });
  }

  @Post('verifications')
  @Needs('admin')
  @Operation({
    summary: 'Verify the tables',
    description: 'Checks the log, folds it beside the live tables and compares them stream by stream. A job.',
  })
  @Answers(202, Job)
  verify(@ValidBody(VerifyRequest) { repair }: VerifyRequest) {
    return this.jobs.start('verify', async ({ signal, report }) =>
      verifyTables(tablesNamed(this.contexts.declared, []), this.store, {
        connectionString: this.access.projector.url,
        retainedSince: await retainedSince(this.pool),
        repair: repair ?? false,
        by: BY,
        signal,
        onProgress: (events, total) =>
          report(`${events} of about ${counted(total, 'event')}`, events / total),
      }),
    );
  }

  @Get('verifications/scheduled')
  @Needs('operator')
  @Operation({
    summary: 'Read the progress of the scheduled verification',
    description: '404 before it has begun.',
  })
  @Answers(200, VerificationProgress)
  async scheduled() {
    const found = await allVerified(this.contexts.declared, this.pool);
    if (!found)
      throw notFound('verification.never-ran', 'No scheduled verification has run on this database yet.');
    return found;
  }

  @Get('integrity')
  @Needs('operator')
  @Operation({
    summary: 'List integrity findings',
    description: 'What verifications have found, and what was repaired; the newest first.',
  })
  @Answers(200, [IntegrityFinding])
  findings(@ValidQuery(FindingsQuery) { open }: FindingsQuery) {
    return integrityFindings(this.pool, { open: open === 'true' });
  }

  /** One table, for a rebuild. */
  #fold(name: string) {
    const found = tablesCalled(this.contexts.declared, name);
    if (!found)
      throw notFound(
        'projection.not-found',
        `There is no projection ${name}. There are ${[...namesOfTables(this.contexts.declared).keys()].join(', ')}.`,
        { projection: name },
      );
    const { context, projections } = found;
    return {
      ...tablesOf(context, this.store),
      projections,
      connectionString: this.access.projector.url,
    };
  }

  #contextNamed(projector: string): Context {
    const found = this.contexts.declared.find(({ name }) => name === projector);
    if (found) return found;
    const names = this.contexts.declared.map(({ name }) => name);
    throw notFound(
      'projector.not-found',
      `There is no projector ${projector}. There ${names.length === 1 ? 'is' : 'are'} ${names.join(', ')}.`,
      { projector },
    );
  }

  #unpark(streamId: string) {
    const context = contextOf(this.contexts.declared, streamId);
    if (!context) throw notParked(streamId);
    return { ...tablesOf(context, this.store), pool: this.pool, streamId };
  }
}
