import { Channel, connectivityState, credentials } from '@grpc/grpc-js';
import {
  EventStoreDBClient,
  type AllStreamResolvedEvent,
  type Credentials,
  type StreamingRead,
} from '@eventstore/db-client';
import { ReadStream } from '@eventstore/db-client/dist/streams/utils/ReadStream.js';
import { convertGrpcEvent } from '@eventstore/db-client/dist/utils/convertGrpcEvent.js';
import { GossipClient } from '@eventstore/db-client/generated/gossip_grpc_pb.js';
import gossip from '@eventstore/db-client/generated/gossip_pb.js';
import type { MemberInfo } from '@eventstore/db-client/generated/gossip_pb.js';
import shared from '@eventstore/db-client/generated/shared_pb.js';
import { StreamsClient } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import type { ConnectionSettings, Endpoint } from './connection-string.js';
import { AppendCall, type OneAppend, type Placed } from './append-call.js';
import { filteredRequest, type FilteredPage } from './filter.js';

/** A node as another one knows it. */
export interface Member {
  readonly endpoint: Endpoint;
  readonly isAlive: boolean;
  readonly isLeader: boolean;
}

/** Events have up to 16 MB, with what is around them. */
const MAX_MESSAGE_BYTES = 17 * 1024 * 1024;

/**
 * The official client, kept to one node. By itself it looks for another node after some failures and not after others, in its
 * own time, and where it finds none the process ends: it does not await what it calls there. Here a channel is one connection
 * to one node from the first call to `close`; which node that is says `Connection`.
 */
export class Node extends EventStoreDBClient {
  readonly #channel: Channel;
  readonly #appends: AppendCall;
  readonly #gone = new AbortController();
  #isLost = false;

  constructor(
    readonly endpoint: Endpoint,
    settings: ConnectionSettings,
  ) {
    const { tls, connectionName, keepAliveInterval, keepAliveTimeout } = settings;
    super({ endpoint, ...(connectionName !== undefined && { connectionName }) }, { insecure: !tls });
    this.#channel = new Channel(
      nameOf(endpoint),
      tls
        ? credentials.createSsl(tls.ca ?? null, tls.key ?? null, tls.cert ?? null)
        : credentials.createInsecure(),
      {
        'grpc.keepalive_time_ms': keepAliveInterval < 0 ? Number.MAX_VALUE : keepAliveInterval,
        'grpc.keepalive_timeout_ms': keepAliveTimeout < 0 ? Number.MAX_VALUE : keepAliveTimeout,
        'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
        // Connections are otherwise shared in the process: whoever connects anew would get the silent one again.
        'grpc.use_local_subchannel_pool': 1,
      },
    );
    this.#watch(connectivityState.IDLE, false);
    const client = new StreamsClient(nameOf(endpoint), null as never, { channelOverride: this.#channel });
    this.#appends = new AppendCall(() => {
      const options = { credentials: settings.credentials, requiresLeader: true };
      return client.batchAppend(...this.callArguments(options, { deadline: Infinity }));
    });
  }

  /** Records a small append. Those that are sent one after another are recorded one after another. */
  append(append: OneAppend): Promise<Placed> {
    return this.#appends.send(append);
  }

  protected override getChannel = (): Promise<Channel> => Promise.resolve(this.#channel);

  /** Whether it has been connected and is not any more: it would connect again by itself, to whatever is there by now. */
  get isLost(): boolean {
    return this.#isLost;
  }

  #watch(state: connectivityState, wasReady: boolean): void {
    this.#channel.watchConnectivityState(state, Infinity, () => {
      const now = this.#channel.getConnectivityState(false);
      const isReady = now === connectivityState.READY;
      if (wasReady && !isReady) this.#isLost = true;
      else if (now !== connectivityState.SHUTDOWN) this.#watch(now, isReady);
    });
  }

  protected override handleError = (): Promise<void> => Promise.resolve();

  /** Aborted when another node, or another connection to this one, is to be used from now on. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  leave(): void {
    this.#gone.abort();
  }

  /** What of `$all` passes a filter; the leader's answer. */
  readFiltered(page: FilteredPage, credentials: Credentials): StreamingRead<AllStreamResolvedEvent> {
    const request = filteredRequest(page);
    const call = this.callArguments({ credentials, requiresLeader: true }, { deadline: Infinity });
    const read = this.GRPCStreamCreator(StreamsClient, 'readFiltered', (client) =>
      client.read(request, ...call),
    );
    return new ReadStream<AllStreamResolvedEvent>(read, convertGrpcEvent, {});
  }

  /** What this node knows of its cluster. */
  members(deadlineMs: number): Promise<readonly Member[]> {
    return this.execute(
      GossipClient,
      'gossip',
      (client) =>
        new Promise((resolve, reject) => {
          client.read(new shared.Empty(), ...this.callArguments({ deadline: deadlineMs }), (error, info) => {
            if (error) reject(error);
            else resolve(info.getMembersList().flatMap(memberOf));
          });
        }),
    );
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.leave();
    this.#appends.close();
    await this.dispose();
    this.#channel.close();
  }
}

export const nameOf = ({ address, port }: Endpoint): string => `${address}:${port}`;

function memberOf(info: MemberInfo): Member[] {
  const http = info.getHttpEndPoint();
  if (!http) return [];
  return [
    {
      endpoint: { address: http.getAddress(), port: http.getPort() },
      isAlive: info.getIsAlive(),
      isLeader: info.getState() === gossip.MemberInfo.VNodeState.LEADER,
    },
  ];
}
