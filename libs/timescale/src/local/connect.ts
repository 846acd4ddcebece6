import { setTimeout as sleep } from 'node:timers/promises';

import type pg from 'pg';

import { endClient, openSession } from '#lib/platform';

import { codeOf } from './database-error.js';

/** The SQLSTATE of a server that starts, recovers or stops. */
const CANNOT_CONNECT_NOW = '57P03';
const NO_SUCH_DATABASE = '3D000';

/** Connects, runs `work`, disconnects. */
export async function connected<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await openSession({ connectionString: url, applicationName: 'waylog db' });
  try {
    return await work(client);
  } finally {
    await endClient(client);
  }
}

/**
 * Waits until the server accepts connections, and creates the database if it does not exist.
 *
 * @param urlFor the URL of a database of this server, by name
 */
export async function ensureDatabase(
  urlFor: (database: string) => string,
  patience: { ms: number; signal?: AbortSignal | undefined },
): Promise<void> {
  const end = Date.now() + patience.ms;
  for (;;) {
    patience.signal?.throwIfAborted();
    try {
      await connected(urlFor('waylog'), () => Promise.resolve());
      return;
    } catch (error) {
      const code = codeOf(error);
      if (code === NO_SUCH_DATABASE) {
        await connected(urlFor('postgres'), (client) => client.query('create database waylog'));
      } else if ((code === CANNOT_CONNECT_NOW || code === 'ECONNREFUSED') && Date.now() < end)
        await sleep(50);
      else throw error;
    }
  }
}
