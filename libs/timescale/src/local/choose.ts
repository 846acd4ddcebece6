import { DatabaseError } from './database-error.js';

/** Where a database comes from. */
export type Source = 'url' | 'docker' | 'private';

/** Why a way cannot be used, as a sentence; undefined if it can. Called only when it matters. */
export type Obstacle = () => Promise<string | undefined>;

/**
 * The first way that applies. An instance stays where it was created (its data are there), until it is reset.
 *
 * @throws DatabaseError `database.no-way`, naming what is missing for each of the three
 */
export async function chooseSource(
  known: { databaseUrl: string | undefined; madeBy: 'docker' | 'private' | undefined },
  obstacles: { docker: Obstacle; private: Obstacle },
): Promise<Source> {
  if (known.databaseUrl) return 'url';
  if (known.madeBy === 'private') return 'private';
  const noDocker = await obstacles.docker();
  if (noDocker === undefined) return 'docker';
  if (known.madeBy === 'docker') {
    throw new DatabaseError('database.no-way', {
      what: 'This database instance lives in Docker, and Docker cannot be used now.',
      why: noDocker,
      todo: 'Start Docker; or give up the data of the instance by removing its folder in .waylog; or set DATABASE_URL.',
    });
  }
  const noPrivate = await obstacles.private();
  if (noPrivate === undefined) return 'private';
  throw new DatabaseError('database.no-way', {
    what: 'There is no way to a TimescaleDB on this machine.',
    why: `DATABASE_URL is not set; ${noDocker}; ${noPrivate}.`,
    todo: 'Do one of three: set DATABASE_URL to a PostgreSQL 15 or newer with TimescaleDB; start Docker with its compose plugin; or use Debian or a relative (x64, arm64), where a private server is unpacked without root.',
  });
}
