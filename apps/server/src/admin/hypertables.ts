import { Controller, Delete, Get, Patch, Post, type Provider } from '@nestjs/common';
import { IsBoolean } from 'class-validator';
import pg from 'pg';
import { IsOpaqueId, IsTimestamp, Optional } from '#lib/platform';
import { TABLES_POOL, tableModelsOf } from '#lib/waylog';
import {
  ChunkInfo,
  ContinuousAggregateInfo,
  DroppedChunks,
  HypertableChange,
  HypertableInfo,
  HypertableRequest,
  HypertableResponse,
  Hypertables,
} from '#lib/timescale';
import { Answers, Id, Needs, Operation, Tag, ValidBody, ValidQuery } from '#lib/rest';
import { contexts } from '../../../contexts.js';
import { samples } from './samples.js';

class DropQuery {
  /** Chunks whose end is this or earlier. */
  @IsTimestamp() readonly olderThan!: string;
  /** The full name of the table; nothing is dropped without it. */
  @Optional() @IsOpaqueId() readonly confirm?: string;
  /** Only list the chunks. */
  @Optional() @IsBoolean() readonly dryRun?: boolean;
}

@Tag('admin')
@Controller('v1/admin/hypertables')
export class HypertablesController {
  constructor(private readonly hypertables: Hypertables) {}

  @Get()
  @Needs('operator')
  @Operation({ summary: 'List hypertables' })
  @Answers(200, [HypertableInfo])
  list() {
    return this.hypertables.list();
  }

  @Post()
  @Needs('admin')
  @Operation({ summary: 'Make a table a hypertable' })
  @Answers(201, HypertableResponse)
  create(@ValidBody(HypertableRequest) request: HypertableRequest) {
    return this.hypertables.create(request);
  }

  @Get(':table')
  @Needs('operator')
  @Operation({ summary: 'Read one hypertable' })
  @Answers(200, HypertableInfo)
  get(@Id('table', samples.table) table: string) {
    return this.hypertables.get(table);
  }

  @Patch(':table')
  @Needs('admin')
  @Operation({ summary: 'Change retention, compression or chunk interval' })
  @Answers(200, HypertableResponse)
  change(@Id('table', samples.table) table: string, @ValidBody(HypertableChange) change: HypertableChange) {
    return this.hypertables.change(table, change);
  }

  @Get(':table/chunks')
  @Needs('operator')
  @Operation({ summary: 'List the chunks of a hypertable' })
  @Answers(200, [ChunkInfo])
  chunks(@Id('table', samples.table) table: string) {
    return this.hypertables.chunks(table);
  }

  @Delete(':table/chunks')
  @Needs('admin')
  @Operation({ summary: 'Drop chunks', description: 'The rows in them go, the log keeps their events.' })
  @Answers(200, DroppedChunks)
  drop(@Id('table', samples.table) table: string, @ValidQuery(DropQuery) query: DropQuery) {
    return this.hypertables.dropChunks(table, query);
  }
}

@Tag('admin')
@Controller('v1/admin/rollups')
export class RollupsController {
  @Get()
  @Needs('operator')
  @Operation({ summary: 'List rollups', description: 'What is aggregated ahead of reads, and by whom.' })
  @Answers(200, [ContinuousAggregateInfo])
  list() {
    return contexts.flatMap(({ followers }) => followers.flatMap(({ rollup }) => rollup?.info() ?? []));
  }
}

export const hypertablesProvider: Provider = {
  provide: Hypertables,
  inject: [TABLES_POOL],
  useFactory: (pool: pg.Pool) => new Hypertables(pool, tableModelsOf(contexts)),
};
