import type { Provider, Type } from '@nestjs/common';
import { BackupsController } from './backups.js';
import { Jobs, JobsController } from './jobs.js';
import { MigrationsController, ServerMigrations } from './migrations.js';
import { ModelsController, SchemaController } from './models.js';
import { ProjectionsController } from './projections.controller.js';
import { StatusController } from './status.controller.js';

/** The operator API, `/v1/admin`: one file per subject. */
export const adminControllers: Type[] = [
  JobsController,
  MigrationsController,
  ModelsController,
  SchemaController,
  ProjectionsController,
  StatusController,
  BackupsController,
];

export const adminProviders: Provider[] = [Jobs, ServerMigrations];
