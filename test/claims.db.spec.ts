import { Category, deciderOf, type EventStore } from '#lib/event-store';
import { flight } from '#lib/flight';
import { conflict, IsId, Label } from '#lib/platform';
import { ClaimKind, context, EVENT_STORE, slicesOn, StreamCommand, type StreamType } from '#lib/waylog';
import { migrate } from '../migrations/index.js';
import { logs, testDatabase, type TestDatabase } from './support/database.js';
import { startWaylog, type RunningWaylog } from './support/waylog.js';

// A club in which no two members have one name, and whose guests are brought by a member.

type ClubEvent =
  | { readonly type: 'Joined'; readonly data: { readonly name: string; readonly broughtBy: string | null } }
  | { readonly type: 'Left' | 'MemberErased'; readonly data: Record<string, never> };
interface Member {
  readonly name: string | undefined;
}
const memberStream: StreamType<Member, ClubEvent> = {
  category: new Category('member'),
  key: 'memberId',
  decider: deciderOf<Member, ClubEvent>({
    version: 1,
    initialState: () => ({ name: undefined }),
    evolve: (_, { type, data }) => ({ name: type === 'Joined' ? data.name : undefined }),
  }),
  eventTypes: new Set(['Joined', 'Left', 'MemberErased']),
  events: { sensitive: { Joined: { name: 'erased' } }, erasedBy: ['MemberErased'] },
};
const memberNames = new ClaimKind({
  name: 'club.member-name',
  refusal: (name) => conflict('member.name-taken', `There is a member called ${name}. Take another name.`),
});

class Join extends StreamCommand {
  @IsId() readonly memberId!: string;
  @Label(100) readonly name!: string;
}
class Bring extends StreamCommand {
  @IsId() readonly memberId!: string;
  @IsId() readonly hostId!: string;
}
class Leave extends StreamCommand {
  @IsId() readonly memberId!: string;
}
class EraseMember extends StreamCommand {
  @IsId() readonly memberId!: string;
}

const slice = slicesOn(memberStream);
const claims = [memberNames];
const join = slice(Join, { claims }, ({ name }, member) => ({
  events: [{ type: 'Joined', data: { name, broughtBy: null } }],
  takes: [memberNames.of(name)],
  releases: member.name === undefined ? [] : [memberNames.of(member.name)],
}));
const bring = slice(
  Bring,
  { claims, reads: ({ hostId }) => ({ host: { stream: memberStream, id: hostId } }) },
  ({ memberId, hostId }, _, { reads: { host } }) => {
    if (host.name === undefined)
      throw conflict('member.unknown', `${hostId} is no member. Who brings a guest must be one.`);
    const name = `guest ${memberId} of ${host.name}`;
    return {
      events: [{ type: 'Joined', data: { name, broughtBy: hostId } }],
      takes: [memberNames.of(name)],
    };
  },
);
const leave = slice(Leave, { claims }, (_, { name }) =>
  name === undefined ? [] : { events: [{ type: 'Left', data: {} }], releases: [memberNames.of(name)] },
);
const eraseMember = slice(EraseMember, () => [{ type: 'MemberErased', data: {} }]);
const club = context('club', {
  streams: [memberStream],
  commands: [join, bring, leave],
  erasures: [eraseMember],
});

describe.each(logs)('values that one thing at a time has, with the log in %s', (log) => {
  let database: TestDatabase;
  let one: RunningWaylog;
  let other: RunningWaylog;
  beforeAll(async () => {
    database = await testDatabase(log);
    await migrate(database.url, { contexts: [club] });
    one = await startWaylog(database, { contexts: [flight, club] });
    other = await startWaylog(database, { contexts: [flight, club] });
  });
  afterAll(async () => {
    await one.close();
    await other.close();
    await database.drop();
  });
  const joining = (memberId: string, name: string, process = one) =>
    process.execute(new Join({ memberId, name }));
  const taken = { code: 'member.name-taken', kind: 'conflict' };

  it('are taken by one of many commands of two processes', async () => {
    const ended = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => joining(`race-${n}`, 'Zoe', n % 2 ? one : other)),
    );
    expect(ended.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const codes = ended.flatMap((end) =>
      end.status === 'rejected' ? [(end.reason as { code: string }).code] : [],
    );
    expect(codes.filter((code) => code !== 'claim.pending' && code !== taken.code)).toEqual([]);
    await expect(joining('late', 'Zoe')).rejects.toMatchObject(taken);
  });

  it('are one value in other cases, widths and spaces', async () => {
    await joining('m1', 'Ann  Sørensen');
    for (const same of ['ann sørensen', ' ANN SØRENSEN ', 'Ａnn Sørensen'])
      await expect(joining('m2', same, other)).rejects.toMatchObject(taken);
    await joining('m2', 'Ann Sorensen', other);
  });

  it('are free again when their holder takes another one, leaves or is erased', async () => {
    await joining('a', 'Alice');
    await joining('a', 'Alicia');
    await joining('b', 'Alice', other);
    await other.execute(new Leave({ memberId: 'b' }));
    await joining('c', 'Alice');
    // Of a context without tables, nothing waits for tables.
    expect(await one.execute(new EraseMember({ memberId: 'c' }))).not.toHaveProperty('waits');
    await joining('d', 'Alice', other);
    await expect(joining('a', 'Alice')).rejects.toMatchObject(taken);
    expect(await joining('a', 'Alicia', other)).toMatchObject({ memberId: 'a' });
  });

  it('are repeated with the command that took them', async () => {
    const command = { memberId: 'r', name: 'Rolf', commandId: 'join-r' };
    const first = await one.execute(new Join(command));
    expect(await other.execute(new Join(command))).toEqual(first);
  });

  it('are in no event of the claim, and not to be guessed from its name', async () => {
    await joining('s', 'Sigrid');
    const events = await one.app
      .get<EventStore>(EVENT_STORE)
      .readAll({ limit: 1_000, categories: ['claim'] });
    expect(events.some(({ data }) => data['holder'] === 'member-s')).toBe(true);
    expect(JSON.stringify(events)).not.toMatch(/sigrid/i);
    for (const { streamId } of events) expect(streamId).toMatch(/^claim-club\.member-name-[0-9a-f]{64}$/);
  });

  it('can rest on the state of another stream', async () => {
    await expect(one.execute(new Bring({ memberId: 'g', hostId: 'nobody' }))).rejects.toMatchObject({
      code: 'member.unknown',
    });
    await joining('host', 'Hanne', other);
    await one.execute(new Bring({ memberId: 'g', hostId: 'host' }));
    await expect(joining('x', 'guest g of HANNE')).rejects.toMatchObject(taken);
  });
});
