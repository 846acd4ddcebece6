import { EventStoreDBClient, type Credentials } from '@eventstore/db-client';
import { messageOf, WaylogError } from '#lib/platform';

/** The client, and what every call of it is sent with. */
export interface Connection {
  readonly client: EventStoreDBClient;
  readonly credentials: Credentials;
  readonly deadlineMs: number;
}

/**
 * Opens nothing yet: the client connects with its first call.
 *
 * The credentials are taken out of the string and go with each call. So the client, which quotes the whole string in its
 * warnings and errors, has no password to quote; and an append with credentials is one call of its own with a deadline
 * rather than an entry in a stream that all appends of the process share. Where nobody asks for a name (`tls=false`), any
 * will do.
 *
 * @throws WaylogError `log.connection-string`
 */
export function connect(connectionString: string, deadlineMs: number): Connection {
  const match = /^(esdb(?:\+discover)?:\/\/)(?:([^:@/?]+):([^@/?]*)@)?([^@]*)$/.exec(connectionString.trim());
  if (!match) {
    throw badString(
      'it must look like esdb://user:password@host:2113?tls=true; encode @, /, : and ? in them',
    );
  }
  const [, protocol, user, password, rest] = match as unknown as [string, string, ...(string | undefined)[]];
  const insecure = /[?&]tls=false(&|$)/i.test(rest ?? '');
  if (user === undefined && !insecure) {
    throw badString('it names no user, and only a server with tls=false asks for none');
  }
  try {
    const credentials =
      user === undefined
        ? { username: 'waylog', password: 'waylog' }
        : { username: decodeURIComponent(user), password: decodeURIComponent(password ?? '') };
    return { client: EventStoreDBClient.connectionString(`${protocol}${rest}`), credentials, deadlineMs };
  } catch (error) {
    throw badString(messageOf(error));
  }
}

const badString = (reason: string) =>
  new WaylogError(
    'log.connection-string',
    'invalid',
    `The connection string of EventStoreDB cannot be used: ${reason}. See docs/how-to/run-on-eventstoredb.md.`,
  );
