import { Controller, Delete, Get, Inject, Post } from '@nestjs/common';
import { IsIn } from 'class-validator';
import pg from 'pg';
import { DATABASE_ACCESS, LOG_POOL, TABLES_POOL, modelsOf } from '#lib/waylog';
import { createPool, Optional } from '#lib/platform';
import {
  type DatabaseAccess,
  discovery,
  ModelDiscoveryResponse,
  ModelRegistrationRequest,
  noOwner,
  queryOn,
  registeredModels,
  registerModels,
  removeModel,
  SchemaValidationResult,
  VALIDATION_LEVELS,
  type ValidationLevel,
} from '#lib/timescale';
import { validateSchema, withWaylogModels } from '../../../../migrations/index.js';
import { Answers, Id, Needs, Operation, Tag, ValidBody, ValidQuery } from '#lib/rest';
import { contexts } from '../../../contexts.js';

const models = withWaylogModels(modelsOf(contexts));

@Tag('admin')
@Controller('v1/admin/models')
export class ModelsController {
  constructor(
    @Inject(TABLES_POOL) private readonly pool: pg.Pool,
    @Inject(DATABASE_ACCESS) private readonly access: DatabaseAccess,
  ) {}

  @Get()
  @Needs('operator')
  @Operation({
    summary: 'List models',
    description: 'The models of every service: those of the code, and those that were registered.',
  })
  @Answers(200, [ModelDiscoveryResponse])
  async discover() {
    return discovery([...models, ...(await registeredModels(queryOn(this.pool)))]);
  }

  @Post()
  @Needs('admin')
  @Operation({
    summary: 'Register models',
    description:
      'Models of one service, all or none. Answers all that it has now. Only the owner of the database makes tables.',
  })
  @Answers(201, ModelDiscoveryResponse)
  async register(@ValidBody(ModelRegistrationRequest) request: ModelRegistrationRequest) {
    if (request.autoCreateTables !== true)
      return discovery(await registerModels(this.pool, request, models))[0];
    const { ownerUrl } = this.access;
    if (ownerUrl === undefined) {
      throw noOwner(
        'make tables',
        'Leave autoCreateTables out, and make them in a migration; or register the models at a server that knows the owner.',
      );
    }
    const owner = createPool({
      connectionString: ownerUrl,
      size: 1,
      applicationName: 'waylog models',
      statementTimeoutMs: 30_000,
      connectTimeoutMs: 5_000,
    });
    try {
      return discovery(await registerModels(owner, request, models))[0];
    } finally {
      await owner.end();
    }
  }

  @Delete(':serviceName/:name')
  @Needs('admin')
  @Operation({
    summary: 'Remove a registered model',
    description: 'Its table stays, with all that is in it.',
  })
  @Answers(204)
  async remove(@Id('serviceName') serviceName: string, @Id('name') name: string) {
    await removeModel(this.pool, serviceName, name, models);
  }
}

class SchemaQuery {
  @Optional() @IsIn(VALIDATION_LEVELS) readonly level?: ValidationLevel;
}

@Tag('admin')
@Controller('v1/admin/schema')
export class SchemaController {
  constructor(@Inject(LOG_POOL) private readonly pool: pg.Pool) {}

  @Get()
  @Needs('operator')
  @Operation({
    summary: 'Compare the schema with migrations and models',
    description: 'Level `basic` when none is given.',
  })
  @Answers(200, SchemaValidationResult)
  validate(@ValidQuery(SchemaQuery) { level }: SchemaQuery) {
    return validateSchema(queryOn(this.pool), level ?? 'basic', models);
  }
}
