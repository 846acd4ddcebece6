import { frameMinutesInfo } from '#lib/flight';
import { Controller, Delete, Get, Patch, Post, type Provider } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
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
import { Answers } from '../http/answer.js';
import { Id, ValidBody, ValidQuery } from '../http/input.js';
import { contexts } from '../../../contexts.js';

class DropQuery {
  /** Chunks whose end is this or earlier. */
  @IsTimestamp() readonly olderThan!: string;
  /** The full name of the table; nothing is dropped without it. */
  @Optional() @IsOpaqueId() readonly confirm?: string;
  /** Only list the chunks. */
  @Optional() @IsBoolean() readonly dryRun?: boolean;
}

@ApiTags('admin')
@Controller('v1/admin/hypertables')
export class HypertablesController {
  constructor(private readonly hypertables: Hypertables) {}

  @Get()
  @ApiOperation({ summary: 'List hypertables' })
  @Answers(200, [HypertableInfo])
  list() {
    return this.hypertables.list();
  }

  @Post()
  @ApiOperation({ summary: 'Make a table a hypertable' })
  @Answers(201, HypertableResponse)
  create(@ValidBody(HypertableRequest) request: HypertableRequest) {
    return this.hypertables.create(request);
  }

  @Get(':table')
  @ApiOperation({ summary: 'Read one hypertable' })
  @Answers(200, HypertableInfo)
  get(@Id('table') table: string) {
    return this.hypertables.get(table);
  }

  @Patch(':table')
  @ApiOperation({ summary: 'Change retention, compression or chunk interval' })
  @Answers(200, HypertableResponse)
  change(@Id('table') table: string, @ValidBody(HypertableChange) change: HypertableChange) {
    return this.hypertables.change(table, change);
  }

  @Get(':table/chunks')
  @ApiOperation({ summary: 'List the chunks of a hypertable' })
  @Answers(200, [ChunkInfo])
  chunks(@Id('table') table: string) {
    return this.hypertables.chunks(table);
  }

  @Delete(':table/chunks')
  @ApiOperation({ summary: 'Drop chunks', description: 'The rows in them go, the log keeps their events.' })
  @Answers(200, DroppedChunks)
  drop(@Id('table') table: string, @ValidQuery(DropQuery) query: DropQuery) {
    return this.hypertables.dropChunks(table, query);
  }
}

@ApiTags('admin')
@Controller('v1/admin/rollups')
export class RollupsController {
  @Get()
  @ApiOperation({ summary: 'List rollups', description: 'What is aggregated ahead of reads, and by whom.' })
  @Answers(200, [ContinuousAggregateInfo])
  list() {
    return [frameMinutesInfo()];
  }
}

export const hypertablesProvider: Provider = {
  provide: Hypertables,
  inject: [TABLES_POOL],
  useFactory: (pool: pg.Pool) => new Hypertables(pool, tableModelsOf(contexts)),
};
