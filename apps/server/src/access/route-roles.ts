import type { AccessRole } from '#lib/access';

/**
 * Who may call what: the one place that says so. Routes are named as they are registered, with their method. What is not
 * here is for `admin` alone, so a route that somebody adds and forgets is shut, not open.
 */
export const routeRoles = {
  /** Without a key: whoever starts and watches the process has none. */
  everybody: ['GET /health/live', 'GET /health/ready'],

  /** Queries, SQL that reads, and what describes the API. */
  reader: [
    'GET /metrics',
    'GET /openapi.json',
    'GET /docs',
    'GET /docs/',
    'GET /docs/*',
    'GET /docs/index.html',
    'GET /docs/swagger-ui-init.js',
    'GET /docs/docs/swagger-ui-init.js',
    'GET /docs/LICENSE',
    'GET /docs-yaml',
    'GET /v1/events',
    'GET /v1/flights',
    'GET /v1/flights/:id',
    'GET /v1/flights/:id/chunks',
    'GET /v1/flights/:id/events',
    'GET /v1/flights/:id/frame-minutes',
    'GET /v1/flights/:id/frames',
    'GET /v1/flights/:id/geofences',
    'GET /v1/flights/:id/headings',
    'GET /v1/flights/:id/headings/latest',
    'GET /v1/flights/:id/images/:frameId',
    'GET /v1/flights/:id/state',
    'GET /v1/flights/:id/waypoints',
    'GET /v1/processing-history',
    'POST /v1/queries',
  ],

  /** Commands, and looking at how the system stands. */
  operator: [
    'POST /v1/commands',
    'POST /v1/flights',
    'PATCH /v1/flights/:id',
    'DELETE /v1/flights/:id',
    'PUT /v1/flights/:id/chunks/:chunkId',
    'DELETE /v1/flights/:id/chunks/:chunkId',
    'POST /v1/flights/:id/chunks/:chunkId/merge',
    'POST /v1/flights/:id/frames',
    'PUT /v1/flights/:id/frames/:frameId',
    'POST /v1/flights/:id/geofences',
    'PUT /v1/flights/:id/geofences/:geofenceId',
    'DELETE /v1/flights/:id/geofences/:geofenceId',
    'POST /v1/flights/:id/headings',
    'PUT /v1/flights/:id/headings/:frameId',
    'PUT /v1/flights/:id/images/:frameId',
    'DELETE /v1/flights/:id/images/:frameId',
    'PUT /v1/flights/:id/state',
    'POST /v1/flights/:id/transactions',
    'POST /v1/flights/:id/waypoints',
    'PATCH /v1/flights/:id/waypoints',
    'PUT /v1/flights/:id/waypoints/:waypointId',
    'POST /v1/transactions',
    'GET /v1/transactions/:transactionId',
    'DELETE /v1/transactions/:transactionId',
    'POST /v1/transactions/:transactionId/commit',
    'GET /v1/admin/ad-hoc-sql',
    'GET /v1/admin/alerts',
    'GET /v1/admin/archives',
    'GET /v1/admin/archives/:eventId',
    'GET /v1/admin/audit/digests',
    'GET /v1/admin/backups',
    'GET /v1/admin/connection',
    'GET /v1/admin/connections',
    'GET /v1/admin/discarded',
    'GET /v1/admin/health',
    'GET /v1/admin/hypertables',
    'GET /v1/admin/hypertables/:table',
    'GET /v1/admin/hypertables/:table/chunks',
    'GET /v1/admin/integrity',
    'GET /v1/admin/jobs',
    'GET /v1/admin/jobs/:jobId',
    'GET /v1/admin/log/losses',
    'GET /v1/admin/migrations',
    'GET /v1/admin/models',
    'GET /v1/admin/monitoring',
    'GET /v1/admin/parked',
    'GET /v1/admin/performance',
    'GET /v1/admin/projections',
    'GET /v1/admin/rollups',
    'GET /v1/admin/schema',
    'GET /v1/admin/verifications/scheduled',
  ],
} as const satisfies Record<'everybody' | Exclude<AccessRole, 'admin'>, readonly string[]>;

export type NeededRole = 'everybody' | AccessRole;

const roleOf = new Map<string, NeededRole>(
  Object.entries(routeRoles).flatMap(([role, names]) =>
    names.map((name) => [name, role as NeededRole] as const),
  ),
);

/** What it takes to call a route, by its method and the pattern it is registered under; HEAD is the GET without its body. */
export const neededRole = (method: string, pattern: string): NeededRole =>
  roleOf.get(`${method === 'HEAD' ? 'GET' : method} ${pattern}`) ?? 'admin';
