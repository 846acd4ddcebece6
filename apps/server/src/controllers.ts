import type { Type } from '@nestjs/common';
import { contexts } from '../../contexts.js';
import { adminControllers } from './admin/index.js';
import { gatewayControllers } from './gateway/index.js';
import { EventsController } from './http/events.controller.js';
import { HealthController } from './operations/health.controller.js';
import { MetricsController } from './operations/metrics.js';

/** What every process of a server answers, whatever its roles. */
export const operationsControllers: readonly Type[] = [HealthController, MetricsController];

/** What a server with the role `api` answers besides. */
export const apiControllers: readonly Type[] = [
  EventsController,
  ...contexts.flatMap(({ controllers }) => controllers),
  ...gatewayControllers,
  ...adminControllers,
];
