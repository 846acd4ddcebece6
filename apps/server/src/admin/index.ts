import type { Provider, Type } from '@nestjs/common';
import { ArchivesController, archivesProvider } from './archives.js';
import { HypertablesController, hypertablesProvider, Retention, RollupsController } from './hypertables.js';
import { Jobs, JobsController } from './jobs.js';

/** The operator API, `/v1/admin`: one file per subject. */
export const adminControllers: Type[] = [
  JobsController,
  HypertablesController,
  RollupsController,
  ArchivesController,
];

export const adminProviders: Provider[] = [Jobs, hypertablesProvider, Retention, archivesProvider];
