import type { Provider, Type } from '@nestjs/common';
import { BackupsController } from './backups.js';
import { AuditController } from './audit.js';
import { ArchivesController, archivesProvider } from './archives.js';
import { HypertablesController, hypertablesProvider, RollupsController } from './hypertables.js';
import { Jobs, JobsController } from './jobs.js';
import { KeysController } from './keys.js';
import { LossesController } from './losses.js';
import { MigrationsController, ServerMigrations } from './migrations.js';
import { ModelsController, SchemaController } from './models.js';
import { ProjectionsController } from './projections.js';
import { ReactorsController } from './reactors.js';
import { StatusController } from './status.js';
import { WebhooksController } from './webhooks.js';

/** The operator API, `/v1/admin`: one file per subject. */
export const adminControllers: Type[] = [
  JobsController,
  KeysController,
  LossesController,
  MigrationsController,
  ModelsController,
  SchemaController,
  ProjectionsController,
  ReactorsController,
  WebhooksController,
  StatusController,
  BackupsController,
  HypertablesController,
  RollupsController,
  ArchivesController,
  AuditController,
];

export const adminProviders: Provider[] = [Jobs, ServerMigrations, hypertablesProvider, archivesProvider];
