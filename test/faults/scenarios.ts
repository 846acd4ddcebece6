import type { World } from './world.js';

export interface Scenario {
  readonly name: string;
  /** What is broken, in a line, for the report and --help. */
  readonly about: string;
  /** Why it cannot be run here; undefined when it can. */
  readonly unavailable?: () => Promise<string | undefined>;
  /** False for the one that only loads. */
  readonly hasFaults: boolean;
  /** Starts the servers. */
  readonly begin: (world: World) => Promise<void>;
  /** Breaks things until the world's signal is aborted, and leaves them as they are to be at the end. */
  readonly inject: (world: World) => Promise<void>;
  /** Puts right what has to be before the load can end. */
  readonly end?: (world: World) => Promise<void>;
}

const oneServer = async (world: World): Promise<void> => {
  await world.addServer('server').start();
};

/** Again and again after a pause of random length, as long as there is load. */
async function repeatedly(world: World, [least, most]: readonly [number, number], work: () => Promise<void>) {
  for (;;) {
    await world.pause(least + world.random() * (most - least));
    if (world.isOver) return;
    await work();
  }
}

export const scenarios: readonly Scenario[] = [
  {
    name: 'none',
    about: 'nothing: the load alone',
    hasFaults: false,
    begin: oneServer,
    inject: async () => undefined,
  },
  {
    name: 'kill-server',
    about: 'SIGKILL of the server, which is API and projector in one process',
    hasFaults: true,
    begin: oneServer,
    inject: (world) =>
      repeatedly(world, [300, 1_500], async () => {
        const [server] = world.servers;
        await world.fault('SIGKILL of the server', () => server?.kill() ?? Promise.resolve());
        await server?.start();
      }),
  },
];
