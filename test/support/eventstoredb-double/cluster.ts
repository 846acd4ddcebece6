import type { sendUnaryData, UntypedServiceImplementation } from '@grpc/grpc-js';
import gossip from '@eventstore/db-client/generated/gossip_pb.js';
import type { ClusterInfo } from '@eventstore/db-client/generated/gossip_pb.js';
import features from '@eventstore/db-client/generated/serverfeatures_pb.js';
import type { SupportedMethods } from '@eventstore/db-client/generated/serverfeatures_pb.js';
import shared from '@eventstore/db-client/generated/shared_pb.js';
import type { Faults } from './faults.js';

/** A node as the gossip shows it. */
export interface Member {
  readonly host: string;
  readonly port: number;
  readonly isAlive: boolean;
  readonly state: 'leader' | 'follower';
}

/** The gossip of the nodes: who leads, who follows, who is dead. */
export const gossipService = (
  members: () => readonly Member[],
  faults: Faults,
): UntypedServiceImplementation => ({
  read: (_call: unknown, answer: sendUnaryData<ClusterInfo>) => {
    if (faults.isStalled('gossip')) return;
    const { LEADER, FOLLOWER } = gossip.MemberInfo.VNodeState;
    const list = members().map(({ host, port, isAlive, state }) =>
      new gossip.MemberInfo()
        .setInstanceId(new shared.UUID().setString(crypto.randomUUID()))
        .setTimeStamp(String(Date.now()))
        .setState(state === 'leader' ? LEADER : FOLLOWER)
        .setIsAlive(isAlive)
        .setHttpEndPoint(new gossip.EndPoint().setAddress(host).setPort(port)),
    );
    answer(null, new gossip.ClusterInfo().setMembersList(list));
  },
});

/** Announces BatchAppend, as every server since version 21 does: the client itself chooses not to use it. */
export const featuresService = (): UntypedServiceImplementation => ({
  getSupportedMethods: (_call: unknown, answer: sendUnaryData<SupportedMethods>) => {
    const method = new features.SupportedMethod()
      .setServiceName('event_store.client.streams.streams')
      .setMethodName('batchappend');
    answer(
      null,
      new features.SupportedMethods().setEventStoreServerVersion('23.10.0').setMethodsList([method]),
    );
  },
});
