import { Controller, Get, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { IsIn } from 'class-validator';
import pg from 'pg';
import { flightModels } from '#lib/flight';
import { Optional } from '#lib/platform';
import {
  discovery,
  ModelDiscoveryResponse,
  ModelRegistrationRequest,
  queryOn,
  registeredModels,
  registerModels,
  SchemaValidationResult,
  VALIDATION_LEVELS,
  type ValidationLevel,
} from '#lib/timescale';
import { validateSchema, withWaylogModels } from '../../../../migrations/index.js';
import { Answers } from '../http/answer.js';
import { ValidBody, ValidQuery } from '../http/input.js';

const models = withWaylogModels(flightModels);

@ApiTags('admin')
@Controller('v1/admin/models')
export class ModelsController {
  constructor(private readonly pool: pg.Pool) {}

  /** The models of every service: those of the code, and those that were registered. */
  @Get()
  @Answers(200, [ModelDiscoveryResponse])
  async discover() {
    return discovery([...models, ...(await registeredModels(queryOn(this.pool)))]);
  }

  /** Registers models of a service, all or none; answers all that it has now. */
  @Post()
  @Answers(201, ModelDiscoveryResponse)
  async register(@ValidBody(ModelRegistrationRequest) request: ModelRegistrationRequest) {
    return discovery(await registerModels(this.pool, request, models))[0];
  }
}

class SchemaQuery {
  @Optional() @IsIn(VALIDATION_LEVELS) readonly level?: ValidationLevel;
}

@ApiTags('admin')
@Controller('v1/admin/schema')
export class SchemaController {
  constructor(private readonly pool: pg.Pool) {}

  /** How the live schema stands to migrations and models. Level `basic` when none is given. */
  @Get()
  @Answers(200, SchemaValidationResult)
  validate(@ValidQuery(SchemaQuery) { level }: SchemaQuery) {
    return validateSchema(queryOn(this.pool), level ?? 'basic', models);
  }
}
