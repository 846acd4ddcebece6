import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { databaseDown, databaseKill, databaseUp, type DatabaseOptions, type StopMode } from '#lib/timescale';

/** A database server of a test alone, which stops it, crashes it and starts it again. */
export class OwnServer {
  private constructor(
    readonly instance: DatabaseOptions,
    /** It stays the same over restarts. */
    readonly url: string,
  ) {}

  static async start(instance: DatabaseOptions): Promise<OwnServer> {
    const { url } = await databaseUp(instance);
    return new OwnServer(instance, url);
  }

  /** The server of this name, beside those that others use. */
  static named(instance: string): Promise<OwnServer> {
    const { DATABASE_URL: _, ...env } = process.env;
    return OwnServer.start({ root: process.cwd(), instance, env });
  }

  /** Ends it cleanly (`fast`) or as a crash would (`immediate`). */
  async stop(mode: StopMode): Promise<void> {
    await databaseKill(this.instance, mode);
  }

  /** Starts it, wherever it is by now, and waits until it accepts connections. */
  async up(): Promise<void> {
    const { url } = await databaseUp(this.instance);
    if (url !== this.url)
      throw new Error('The database server has come back on another port, which the suite is not made for.');
  }

  async restart(mode: StopMode, awayMs = 0): Promise<void> {
    await this.stop(mode);
    await sleep(awayMs);
    await this.up();
  }

  /** Waits until a server that recovers by itself accepts connections again. */
  async isBack(patienceMs = 60_000): Promise<void> {
    for (const patience = performance.now() + patienceMs; ;) {
      try {
        await onDatabase(this.url, 'select 1');
        return;
      } catch (error) {
        if (performance.now() > patience) throw error;
        await sleep(20);
      }
    }
  }

  async createDatabase(name: string): Promise<void> {
    await onDatabase(this.url, `create database ${name}`);
  }

  async dropDatabase(name: string): Promise<void> {
    await onDatabase(this.url, `drop database ${name} with (force)`);
    // Roles belong to the server, and carry the name of their database.
    const roles = await onDatabase<{ name: string }>(
      this.url,
      `select rolname as name from pg_roles where starts_with(rolname, $1)`,
      [`${name}_`],
    );
    for (const role of roles) await onDatabase(this.url, `drop role ${pg.escapeIdentifier(role.name)}`);
  }

  /** Ends it for good. */
  async down(): Promise<void> {
    await databaseDown(this.instance);
  }
}

/** Runs one statement in a session of its own. */
export async function onDatabase<Row extends pg.QueryResultRow>(
  url: string,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url, application_name: 'fault suite' });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}
