import fastify from 'fastify';
import type { AccessRole } from '#lib/access';
import { WaylogError } from '#lib/platform';
import type { Access } from './access.js';
import { Guard } from './guard.js';

/** Knows every caller, by the name of its role. */
const access = {
  authenticate: (role: string) => {
    if (!role) throw new WaylogError('access.refused', 'unauthenticated', 'Nobody.');
    return { actor: role, role: role as AccessRole };
  },
} as unknown as Access;

describe('a route', () => {
  const server = fastify();
  server.decorateRequest('actor');
  server.decorateRequest('origin');
  server.addHook('onRequest', new Guard(access, 1_000, false).onRequest);
  const routes = {
    '/forgotten': {},
    '/read': { waylog: { role: 'reader' } },
    '/health': { waylog: { role: 'everybody' } },
    '/docs/page': {},
    '/docs-yaml': {},
    '/documents': {},
  };
  for (const [url, config] of Object.entries(routes)) server.get(url, { config }, () => 'in');
  afterAll(() => server.close());

  const statuses = async (role: string, method: 'GET' | 'HEAD' = 'GET') =>
    Object.fromEntries(
      await Promise.all(
        Object.keys(routes).map(async (url) => {
          const headers = role ? { authorization: `Bearer ${role}` } : {};
          return [url, (await server.inject({ method, url, headers })).statusCode] as const;
        }),
      ),
    );

  it.each(['GET', 'HEAD'] as const)(
    'says who may call it, and is for admin alone if it does not: %s',
    async (method) => {
      const said = { '/read': 200, '/health': 200, '/docs/page': 200, '/docs-yaml': 200 };
      expect(await statuses('admin', method)).toEqual({ ...said, '/forgotten': 200, '/documents': 200 });
      const refused = { ...said, '/forgotten': 403, '/documents': 403 };
      expect(await statuses('operator', method)).toEqual(refused);
      expect(await statuses('reader', method)).toEqual(refused);
      const { '/health': health, ...others } = await statuses('', method);
      expect([health, ...new Set(Object.values(others))]).toEqual([200, 401]);
    },
  );
});
