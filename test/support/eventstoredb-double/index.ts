import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { GossipService } from '@eventstore/db-client/generated/gossip_grpc_pb.js';
import { ServerFeaturesService } from '@eventstore/db-client/generated/serverfeatures_grpc_pb.js';
import { StreamsService } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import { featuresService, gossipService, type Member } from './cluster.js';
import { Faults } from './faults.js';
import { DoubleLog } from './log.js';
import { streamsService } from './streams.js';

export interface DoubleOptions {
  /** Default: a free one. */
  readonly port?: number;
  /** With the certificate of the test fixture, for localhost. */
  readonly tls?: boolean;
  /** User names and passwords; by default no login is needed. */
  readonly users?: Readonly<Record<string, string>>;
  /** The users can append, and none can read `$all`. */
  readonly guardsAll?: boolean;
  /** The content of the gossip; default this node alone, as the leader. */
  readonly members?: () => readonly Member[];
  /** The log of another double, to be a node of the same cluster. */
  readonly log?: DoubleLog;
  /** Default 1 MiB, as the server's. */
  readonly maxAppendSize?: number;
  /** The largest event of an append, in bytes; by default there is no limit, as in the server. */
  readonly maxAppendEventSize?: number;
  /** As before version 22.6: an event that is read from its stream has no position. */
  readonly hidesPositions?: boolean;
}

/**
 * A stand-in for an EventStoreDB server in tests: its protocol over real gRPC, its rules as far as Waylog relies on
 * them, its data in memory, and faults that can be switched on. It shows that Waylog follows the protocol as this file
 * understands it; only a real server (ESDB_TEST_URL) shows that the server does, too.
 */
export interface EventStoreDbDouble {
  readonly connectionString: string;
  readonly port: number;
  readonly faults: Faults;
  readonly log: DoubleLog;
  /**
   * The number of calls of each kind, of events that reads got, and the number and positions of checkpoints of
   * subscriptions.
   */
  readonly calls: Readonly<
    Record<'append' | 'batched' | 'read' | 'subscribe' | 'events' | 'sent' | 'checkpoints', number>
  >;
  /** Breaks all connections. */
  stop(): Promise<void>;
  /** Starts again on the same port, with the same data; a running one is stopped first. */
  restart(): Promise<void>;
}

/** With a larger value the server does not start. */
const LARGEST_APPEND = 16_767_216;

export const TLS_CERTIFICATE = join(import.meta.dirname, 'tls', 'test-fixture.crt');

export async function startDouble(options: DoubleOptions = {}): Promise<EventStoreDbDouble> {
  const { tls = false, users, guardsAll = false, hidesPositions = false } = options;
  const { maxAppendSize = 1_048_576, maxAppendEventSize = Infinity } = options;
  if (maxAppendSize > LARGEST_APPEND)
    throw new Error(`Application initialization error: MaxAppendSize exceeded ${LARGEST_APPEND} bytes.`);
  const log = options.log ?? new DoubleLog();
  const faults = new Faults();
  const calls = { append: 0, batched: 0, read: 0, subscribe: 0, events: 0, sent: 0, checkpoints: 0 };
  const members = options.members ?? (() => [{ host: '127.0.0.1', port, isAlive: true, state: 'leader' }]);
  let server: Server | undefined;

  const start = async (wanted: number): Promise<number> => {
    server = new Server();
    server.addService(
      StreamsService,
      streamsService({
        log,
        faults,
        guardsAll,
        maxAppendSize,
        maxAppendEventSize,
        hidesPositions,
        calls,
        ...(users && { users }),
      }),
    );
    server.addService(GossipService, gossipService(members, faults));
    server.addService(ServerFeaturesService, featuresService());
    const bound = server;
    return new Promise((resolve, reject) => {
      bound.bindAsync(`127.0.0.1:${wanted}`, credentials(tls), (error, taken) =>
        error ? reject(error) : resolve(taken),
      );
    });
  };
  const stop = async () => {
    faults.closeSubscriptions('cancelled');
    server?.forceShutdown();
    server = undefined;
    return Promise.resolve();
  };
  const port: number = await start(options.port ?? 0);
  const [user] = Object.entries(users ?? {});
  const login = user ? `${encodeURIComponent(user[0])}:${encodeURIComponent(user[1])}@` : '';
  return {
    connectionString: tls
      ? `esdb://${login || 'admin:changeit@'}localhost:${port}?tls=true&tlsCAFile=${encodeURIComponent(TLS_CERTIFICATE)}`
      : `esdb://${login}127.0.0.1:${port}?tls=false`,
    port,
    faults,
    log,
    calls,
    stop,
    restart: async () => {
      await stop();
      log.forget();
      await start(port);
    },
  };
}

const credentials = (tls: boolean): ServerCredentials =>
  tls
    ? ServerCredentials.createSsl(null, [
        {
          cert_chain: readFileSync(TLS_CERTIFICATE),
          private_key: readFileSync(TLS_CERTIFICATE.replace(/crt$/, 'key')),
        },
      ])
    : ServerCredentials.createInsecure();
