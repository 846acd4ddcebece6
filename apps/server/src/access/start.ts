import type pg from 'pg';
import { countKeys, createFirstKey } from '#lib/access';
import { isLoopback, WaylogError, type Config } from '#lib/platform';

/**
 * Throws `access.none` when a server would listen to other machines and there is nothing that anybody could be known by.
 */
export async function refuseOpenServer(config: Config, pool: pg.Pool): Promise<void> {
  if (isLoopback(config.host) || config.adminKey !== undefined || config.jwt) return;
  if ((await countKeys(pool)).valid > 0) return;
  throw new WaylogError(
    'access.none',
    'conflict',
    `HOST is ${config.host}, which other machines reach, and there is no key that anybody could be let in with. Make ` +
      'one (waylog keys create --name NAME --role admin), or set WAYLOG_ADMIN_KEY (openssl rand -hex 32) or ' +
      'WAYLOG_JWT_ISSUER; or leave HOST out, so that only this machine reaches the server.',
  );
}

/** What to tell whoever has started a server, about how to call it. Makes the first key where there has never been one. */
export async function accessBanner(config: Config, pool: pg.Pool, url: string): Promise<string> {
  const make = 'waylog keys create --name NAME --role reader|operator|admin';
  const known = `Every call needs a key${config.jwt ? `, or a token of ${config.jwt.issuer}` : ''}. To make one: ${make}`;
  const isForCalls = config.roles.includes('api');
  // What other machines reach has a way in already; its output is likely to be collected, and is no place for a key.
  const isConfigured = config.adminKey !== undefined || config.jwt !== undefined || !isLoopback(config.host);
  if (isConfigured || !isForCalls) return known;
  const first = await createFirstKey(pool, { name: 'first', role: 'admin' }, { by: 'the first start' });
  if (!first) return known;
  return [
    'Every call needs a key. There was none yet, so here is one that may do everything.',
    'It is shown now and never again:',
    '',
    `  ${first.key}`,
    '',
    `Use it:  curl -H 'Authorization: Bearer ${first.key}' ${url}/v1/events`,
    `Browse:  ${url}/docs (any user name, the key as the password)`,
    `Another: ${make}`,
  ].join('\n');
}
