import type { Provider, Type } from '@nestjs/common';
import { BackupsController } from './backups.js';
import { Jobs, JobsController } from './jobs.js';

/** The operator API, `/v1/admin`: one file per subject. */
export const adminControllers: Type[] = [JobsController, BackupsController];

export const adminProviders: Provider[] = [Jobs];
