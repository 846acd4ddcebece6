import type { Provider, Type } from '@nestjs/common';
import { Jobs, JobsController } from './jobs.js';

/** The operator API, `/v1/admin`: one file per subject. */
export const adminControllers: Type[] = [JobsController];

export const adminProviders: Provider[] = [Jobs];
