import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type ClientOptions, type Command, type Query } from './clients.js';
import type { RegisterOperation } from './check/register.js';
import { now } from './history.js';

/** How many clients do what. Each has its own flight, shares two with others, or shares the register. */
const OWN = 6;
const SHARING = 6;
const REGISTER = 4;

/** The longest pause of a client between two operations. */
const THINK_MS = 20;

/** After this many operations a client begins another flight. */
const OPERATIONS_A_FLIGHT = 200;

const REGISTER_FLIGHT = 'register';
const REGISTER_INITIAL = 0;

export interface Load {
  /** What the clients of the register did, for its own checker. */
  readonly register: readonly RegisterOperation[];
  readonly registerInitial: number;
  /** Resolves when every client has ended its last operation. */
  readonly done: Promise<void>;
}

/** When each acknowledged command was last sent and answered, and its place in the log. */
export interface Acknowledgement {
  readonly lastSent: number;
  readonly ended: number;
  readonly position: string;
}

export interface LoadOptions extends ClientOptions {
  /** Aborted when clients must begin nothing more. */
  readonly stop: AbortSignal;
  readonly onAcknowledged: (acknowledgement: Acknowledgement) => void;
}

let values = 0;
/** Distinguishes every write from every other; in a column of degrees it is written as millionths. */
const next = (): number => ++values;

const START = Date.UTC(2026, 4, 1, 12);
const at = (n: number): string => new Date(START + (n % 1_000_000) * 100).toISOString();

/** Creates the shared flights, and then starts all clients. */
export async function startLoad(options: LoadOptions): Promise<Load> {
  const { stop, random, onAcknowledged } = options;
  const write = async (client: Client, command: Command) => {
    const write = await client.write(command);
    const { lastSent, ended, position } = write;
    if (write.outcome === 'acknowledged' && position !== undefined)
      onAcknowledged({ lastSent, ended, position });
    return write;
  };
  const isOver = (): boolean => stop.aborted;
  const think = () => sleep(random() * THINK_MS);

  const own = async (name: string) => {
    const client = new Client(name, options);
    for (let flight = 0; !isOver(); flight++) {
      const flightId = `${name}-${flight}`;
      // A client that stopped before the answer does not know whether its flight exists, and begins another one.
      if ((await write(client, create(flightId))).outcome !== 'acknowledged') continue;
      for (let n = 0; n < OPERATIONS_A_FLIGHT && !isOver(); n++) {
        await operate(client, flightId, n);
        await think();
      }
    }
  };

  const shared = async (name: string, flights: readonly string[]) => {
    const client = new Client(name, options);
    while (!isOver()) {
      await operate(client, pick(flights), Math.floor(random() * 50));
      await think();
    }
  };

  /** A command, and often a read of what it wrote. */
  const operate = async (client: Client, flightId: string, n: number) => {
    const { command, query } = pick(operations)(flightId, n, random);
    const { outcome, position } = await write(client, command);
    if (!query || random() < 0.4) return;
    const asks = outcome === 'acknowledged' && random() < 0.8;
    await client.read({ ...query, minPosition: asks ? position : undefined });
  };
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)] as T;

  const register: RegisterOperation[] = [];
  const registerClient = async (name: string) => {
    const client = new Client(name, options);
    let last: string | undefined;
    let revision = 0;
    let ids = 0;
    while (!isOver()) {
      const chance = random();
      const invoked = now();
      const note = (operation: Partial<RegisterOperation>) =>
        register.push({ id: register.length, client: name, invoked, ...operation } as RegisterOperation);
      if (chance < 0.5) {
        const value = next() / 1e6;
        const done = await write(client, moveWaypoint(REGISTER_FLIGHT, 'r', value));
        if (done.outcome === 'unknown') note({ kind: 'write', value });
        if (done.outcome === 'acknowledged') {
          note({ kind: 'write', value, ended: done.ended });
          last = done.position;
          revision = done.revision ?? revision;
        }
      } else {
        let minPosition = last;
        const isLatest = chance > 0.75;
        if (isLatest) {
          // The log answers its present content; a read at that position is as new as possible.
          const events = await client.ask({
            method: 'GET',
            path: `/v1/flights/${REGISTER_FLIGHT}/events?fromRevision=${revision}&limit=5000`,
          });
          const newest = (events?.body as { revision: number; position: string }[] | undefined)?.at(-1);
          if (!newest) continue;
          ({ revision, position: minPosition } = newest);
        }
        const value = await client.read({ ...waypointQuery(REGISTER_FLIGHT, 'r'), minPosition });
        if (typeof value === 'number') note({ kind: isLatest ? 'latest' : 'own', value, ended: now() });
      }
      ids++;
      if (ids % 2 === 0) await think();
    }
  };

  const planner = new Client('setup', options);
  await write(planner, create('shared-0'));
  await write(planner, create('shared-1'));
  await write(planner, create(REGISTER_FLIGHT, [{ ...aWaypoint('r', REGISTER_INITIAL) }]));
  const flights = ['shared-0', 'shared-1'];
  const work = [
    ...Array.from({ length: OWN }, (_, i) => own(`own-${i}`)),
    ...Array.from({ length: SHARING }, (_, i) => shared(`sharing-${i}`, flights)),
    ...Array.from({ length: REGISTER }, (_, i) => registerClient(`register-${i}`)),
  ];
  return {
    register,
    registerInitial: REGISTER_INITIAL,
    done: Promise.all(work).then(() => undefined),
  };
}

const aWaypoint = (id: string, lat: number) => ({
  ...{ id, lat, lon: 10.4, altitude: 120, confidence: 0.5, timestamp: at(7), refined: false },
});

const create = (
  flightId: string,
  waypoints = [0, 1, 2].map((i) => aWaypoint(`w${i}`, next() / 1e6)),
): Command => ({
  name: 'create flight',
  flightId,
  // The flight, its waypoints, and its first state.
  events: 2 + waypoints.length,
  method: 'POST',
  path: '/v1/flights',
  body: {
    ...{ id: flightId, name: `Flight ${flightId}`, startGps: { lat: 63.4, lon: 10.4 }, altitude: 120.5 },
    waypoints,
  },
});

const moveWaypoint = (flightId: string, id: string, lat: number): Command => ({
  name: 'update waypoint',
  flightId,
  events: 1,
  method: 'PUT',
  path: `/v1/flights/${flightId}/waypoints/${id}`,
  body: aWaypoint(id, lat),
  note: { value: lat },
});

const waypointQuery = (flightId: string, id: string): Query => ({
  name: 'get waypoints',
  flightId,
  key: `waypoint ${flightId} ${id}`,
  method: 'GET',
  path: `/v1/flights/${flightId}/waypoints`,
  pick: (body) => (body as { id: string; lat: number }[]).find((w) => w.id === id)?.lat ?? null,
});

interface Both {
  readonly command: Command;
  readonly query?: Query;
}

const aFrame = (n: number, value: number) => ({
  ...{ gpsCenter: { lat: value / 1e6, lon: 10.4 }, altitude: 121, heading: value % 360, confidence: 0.7 },
  // Now and then the same frame with another time, which moves its row.
  ...{ refined: value % 2 === 0, timestamp: at(value % 5 === 0 ? n + 1 : n) },
});
const aHeading = (n: number, value: number) => ({
  heading: (value % 3_600_000) / 10_000,
  timestamp: at(value % 7 === 0 ? n + 1 : n),
});

/** What a client can do with the `n`th thing of a flight, and how to read it. */
const operations: readonly ((flightId: string, n: number, random: () => number) => Both)[] = [
  (flightId, n) => {
    const id = `w${n % 3}`;
    return { command: moveWaypoint(flightId, id, next() / 1e6), query: waypointQuery(flightId, id) };
  },
  (flightId) => {
    const value = next();
    const id = `added-${value}`;
    const command = {
      ...{ name: 'add waypoint', flightId, events: 1, method: 'POST' },
      ...{ path: `/v1/flights/${flightId}/waypoints`, body: aWaypoint(id, value / 1e6) },
    };
    const whole: Query = {
      ...waypointQuery(flightId, id),
      name: 'get flight',
      path: `/v1/flights/${flightId}`,
      pick: (body) =>
        (body as { waypoints: { id: string; lat: number }[] }).waypoints.find((w) => w.id === id)?.lat ??
        null,
    };
    return { command, query: whole };
  },
  (flightId, n) => {
    const value = next();
    return {
      command: {
        ...{ name: 'save frame', flightId, events: 1, method: 'PUT' },
        ...{ path: `/v1/flights/${flightId}/frames/${n}`, body: aFrame(n, value) },
      },
      query: {
        ...{ name: 'get frame', flightId, key: `frame ${flightId} ${n}`, method: 'GET' },
        path: `/v1/flights/${flightId}/frames?from=${n}&to=${n}`,
        pick: (body) => (body as { gpsCenter: { lat: number } }[])[0]?.gpsCenter.lat ?? null,
      },
    };
  },
  (flightId, n) => ({
    command: {
      ...{ name: 'save heading', flightId, events: 1, method: 'PUT' },
      ...{ path: `/v1/flights/${flightId}/headings/${n}`, body: aHeading(n, next()) },
    },
    query: {
      ...{ name: 'get headings', flightId, key: `heading ${flightId} ${n}`, method: 'GET' },
      path: `/v1/flights/${flightId}/headings`,
      pick: (body) =>
        (body as { frameId: number; heading: number }[]).find((h) => h.frameId === n)?.heading ?? null,
    },
  }),
  (flightId, n) => {
    const value = next();
    const id = `c${n % 4}`;
    return {
      command: {
        ...{ name: 'save route chunk', flightId, events: 1, method: 'PUT' },
        path: `/v1/flights/${flightId}/chunks/${id}`,
        body: {
          ...{ startFrameId: value, frames: [value, value + 1], isActive: true, hasAnchor: false },
          matchingStatus: 'unanchored',
        },
      },
      query: {
        ...{ name: 'get route chunks', flightId, key: `chunk ${flightId} ${id}`, method: 'GET' },
        path: `/v1/flights/${flightId}/chunks`,
        pick: (body) =>
          (body as { chunkId: string; startFrameId: number }[]).find((c) => c.chunkId === id)?.startFrameId ??
          null,
      },
    };
  },
  (flightId) => {
    const value = next();
    return {
      command: {
        ...{ name: 'save state', flightId, events: 1, method: 'PUT', path: `/v1/flights/${flightId}/state` },
        body: {
          ...{
            status: 'processing',
            framesProcessed: value,
            framesTotal: 2_000_000_000,
            currentFrame: value,
          },
          blocked: false,
        },
      },
      query: {
        ...{ name: 'get state', flightId, key: `state ${flightId}`, method: 'GET' },
        path: `/v1/flights/${flightId}/state`,
        pick: (body) => (body as { framesProcessed: number }).framesProcessed,
      },
    };
  },
  // All or nothing: three events under one command.
  (flightId, n) => {
    const id = `w${n % 3}`;
    return {
      command: {
        ...{ name: 'transaction', flightId, events: 3, method: 'POST' },
        path: `/v1/flights/${flightId}/transactions`,
        body: {
          commands: [
            { type: 'UpdateWaypoint', waypoint: aWaypoint(id, next() / 1e6) },
            { type: 'SaveFrameResult', frame: { frameId: n, ...aFrame(n, next()) } },
            { type: 'SaveHeading', heading: { frameId: n, ...aHeading(n, next()) } },
          ],
        },
      },
      query: waypointQuery(flightId, id),
    };
  },
  // Must be refused, and so never be found in the log.
  (flightId) => ({
    command: { ...moveWaypoint(flightId, 'nowhere', next() / 1e6), refusal: 'waypoint.not-found' },
  }),
];
