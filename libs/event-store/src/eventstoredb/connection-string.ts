import { readFileSync } from 'node:fs';
import type { Credentials } from '@eventstore/db-client';
import { messageOf, WaylogError } from '#lib/platform';

/** Where a node listens. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** What a connection string says, as far as it has a meaning here. */
export interface ConnectionSettings {
  /** One node, or some of a cluster's. */
  readonly seeds: readonly Endpoint[];
  /** The seeds are asked who leads; false for the one node there is. */
  readonly isCluster: boolean;
  /** Sent with every call. Where nobody asks for a name (`tls=false`), any will do. */
  readonly credentials: Credentials;
  /** Undefined without TLS. */
  readonly tls: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer } | undefined;
  readonly connectionName?: string;
  /** In milliseconds, as gRPC knows them; -1 for none. */
  readonly keepAliveInterval: number;
  readonly keepAliveTimeout: number;
  /** The longest that a call may take in all, in milliseconds. */
  readonly deadlineMs: number | undefined;
  /** Options of the string that change nothing. */
  readonly withoutEffect: readonly string[];
}

const DEFAULT_PORT = 2113;

/** In a third of it a node must answer, and before the first call be connected to. */
const LEAST_DEADLINE_MS = 100;

/**
 * Reads a connection string ourselves: the client, which quotes the whole of it in its warnings and errors, never gets to see
 * its password.
 *
 * @throws WaylogError `log.connection-string`, which does not repeat the password
 */
export function parseConnectionString(connectionString: string): ConnectionSettings {
  const match = /^esdb(\+discover)?:\/\/(?:([^:@/?]+):([^@/?]*)@)?([^@/?]+)\/?(?:\?([^@]*))?$/.exec(
    connectionString.trim(),
  );
  if (!match) {
    throw badString(
      'it must look like esdb://user:password@host:2113?tls=true; encode @, /, : and ? in them',
    );
  }
  const [, discover, user, password, hosts, query] = match;
  try {
    const options = optionsOf(query ?? '');
    const isSecure = flag(options, 'tls', true);
    if (user === undefined && isSecure) {
      throw new Error('it names no user, and only a server with tls=false asks for none');
    }
    const seeds = (hosts as string).split(',').map(endpointOf);
    const file = (key: string) => {
      const path = take(options, key);
      return path === undefined ? undefined : readFileSync(path);
    };
    const [ca, cert, key] = [file('tlscafile'), file('usercertfile'), file('userkeyfile')];
    const connectionName = take(options, 'connectionname');
    return {
      seeds,
      isCluster: discover !== undefined || seeds.length > 1,
      credentials:
        user === undefined
          ? { username: 'waylog', password: 'waylog' }
          : { username: decodeURIComponent(user), password: decodeURIComponent(password ?? '') },
      tls: isSecure ? { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) } : undefined,
      ...(connectionName !== undefined && { connectionName }),
      keepAliveInterval: whole(options, 'keepaliveinterval') ?? 10_000,
      keepAliveTimeout: keepAliveTimeout(options),
      deadlineMs: deadline(options),
      withoutEffect: [...options.values()].map(({ name }) => name),
    };
  } catch (error) {
    throw badString(messageOf(error));
  }
}

type Options = Map<string, { readonly name: string; readonly value: string }>;

/** Keys as the client takes them: `tlsCAFile`, `tls-ca-file` and `TLS_CA_FILE` are the same. */
function optionsOf(query: string): Options {
  const options: Options = new Map();
  for (const pair of query.split('&')) {
    if (pair === '') continue;
    const [, name, value] = /^([^=]+)=(.+)$/.exec(pair) ?? [];
    if (name === undefined || value === undefined)
      throw new Error(`${JSON.stringify(pair)} is not key=value`);
    options.set(name.toLowerCase().replace(/[_-]/g, ''), { name, value: decodeURIComponent(value.trim()) });
  }
  return options;
}

/** What is taken has an effect; what is left has none. */
function take(options: Options, key: string): string | undefined {
  const value = options.get(key)?.value;
  options.delete(key);
  return value;
}

function flag(options: Options, key: string, otherwise: boolean): boolean {
  const value = take(options, key)?.toLowerCase() ?? String(otherwise);
  if (value !== 'true' && value !== 'false') throw new Error(`${key} is neither true nor false`);
  return value === 'true';
}

function whole(options: Options, key: string): number | undefined {
  const value = take(options, key);
  if (value !== undefined && !/^(-1|\d{1,9})$/.test(value)) throw new Error(`${key} is no whole number`);
  return value === undefined ? undefined : Number(value);
}

/** Without a limit nothing would ever be refused; within none nothing would ever be answered. */
function deadline(options: Options): number | undefined {
  const milliseconds = whole(options, 'defaultdeadline');
  if (milliseconds !== undefined && milliseconds < LEAST_DEADLINE_MS)
    throw new Error(
      `defaultDeadline, the milliseconds that a call may take in all, is ${milliseconds}: it must be at least ${LEAST_DEADLINE_MS}`,
    );
  return milliseconds;
}

/** With none at all every connection would break with its first ping. */
function keepAliveTimeout(options: Options): number {
  const milliseconds = whole(options, 'keepalivetimeout') ?? 10_000;
  if (milliseconds === 0)
    throw new Error(
      'keepAliveTimeout, the milliseconds that a ping may take, is 0: leave it out, or -1 for no limit',
    );
  return milliseconds;
}

function endpointOf(text: string): Endpoint {
  const [, address, port] = /^(\[[\da-f:.]+\]|[^:[\]\s]+)(?::(\d{1,5}))?$/i.exec(text.trim()) ?? [];
  if (address === undefined || Number(port ?? DEFAULT_PORT) > 65_535) {
    throw new Error(`${JSON.stringify(text)} is not a host with a port number`);
  }
  return { address, port: Number(port ?? DEFAULT_PORT) };
}

const badString = (reason: string) =>
  new WaylogError(
    'log.connection-string',
    'invalid',
    `The connection string of EventStoreDB cannot be used: ${reason}. See docs/how-to/run-on-eventstoredb.md.`,
  );
