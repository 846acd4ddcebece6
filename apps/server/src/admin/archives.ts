import { Controller, Get, Inject, Post, type Provider } from '@nestjs/common';
import { ArrayMinSize, IsArray } from 'class-validator';
import type pg from 'pg';
import { Example, conflict, IsOpaqueId, IsTimestamp, Optional, type Config } from '#lib/platform';
import { endCachedAnswers } from '#lib/projections';
import { TABLES_POOL, tableModelsOf } from '#lib/waylog';
import { ArchivalEvent, Archives } from '#lib/timescale';
import { Answers, Id, Needs, Operation, Tag, ValidBody } from '#lib/rest';
import { CONFIG } from '../config.js';
import { Job, Jobs } from './jobs.js';
import { contexts } from '../../../contexts.js';

@Example<ArchiveRequest>({ olderThan: '2026-05-01T00:00:00Z', tables: ['flight.frame_results'] })
class ArchiveRequest {
  /** Chunks whose end is this or earlier. */
  @IsTimestamp() readonly olderThan!: string;
  /** Default: all hypertables. */
  @Optional()
  @IsArray()
  @ArrayMinSize(1)
  @IsOpaqueId({ each: true })
  readonly tables?: string[] | null;
}

@Tag('admin')
@Controller('v1/admin/archives')
export class ArchivesController {
  constructor(
    private readonly archives: Archives,
    private readonly jobs: Jobs,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  @Get()
  @Needs('operator')
  @Operation({ summary: 'List archived chunks', description: 'The newest first.' })
  @Answers(200, [ArchivalEvent])
  list() {
    return this.archives.list();
  }

  @Get(':eventId')
  @Needs('operator')
  @Operation({ summary: 'Read the record of one archive' })
  @Answers(200, ArchivalEvent)
  get(@Id('eventId') eventId: string) {
    return this.archives.get(eventId);
  }

  @Post()
  @Needs('admin')
  @Operation({
    summary: 'Archive chunks',
    description:
      'Writes chunks into files, checks them and drops the chunks. A job; its result is `{ confirmations: [ArchivalConfirmation] }`.',
  })
  @Answers(202, Job)
  run(@ValidBody(ArchiveRequest) { olderThan, tables }: ArchiveRequest) {
    const { archiveDirectory } = this.config;
    if (!archiveDirectory) {
      throw conflict(
        'archive.no-directory',
        'This server has no folder for archives, so it writes none. Set WAYLOG_ARCHIVE_DIR and start it again, or use `waylog archive run`.',
      );
    }
    return this.jobs.start('archive', async (control) => {
      const confirmations = await this.archives.run({
        olderThan: new Date(olderThan),
        directory: archiveDirectory,
        ...(tables && { tables }),
        signal: control.signal,
        onProgress: ({ chunkName, step, done, total }) =>
          control.report(`${chunkName} ${step}`, done / total),
      });
      return { confirmations };
    });
  }

  @Post(':eventId/restore')
  @Needs('admin')
  @Operation({
    summary: 'Restore an archive',
    description: 'Brings the rows of an archive back into the table. A job; its result is a RestoredArchive.',
  })
  @Answers(202, Job)
  async restore(@Id('eventId') eventId: string) {
    await this.archives.get(eventId);
    return this.jobs.start('restore-archive', (control) =>
      this.archives.restore(eventId, {
        onProgress: ({ chunkName, step, done, total }) =>
          control.report(`${chunkName} ${step}`, done / total),
      }),
    );
  }
}

export const archivesProvider: Provider = {
  provide: Archives,
  inject: [TABLES_POOL],
  useFactory: (pool: pg.Pool) => new Archives(pool, tableModelsOf(contexts), endCachedAnswers),
};
