import { EventEmitter, once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { messageOf, seededRandom } from '#lib/platform';
import type { DatabaseOptions } from '#lib/timescale';
import { migrate } from '../../migrations/index.js';
import { onDatabase, OwnServer } from '../support/own-server.js';
import { serverProcess, type ServerProcess } from '../support/server-process.js';
import { now, type History } from './history.js';
import type { Place } from './places.js';
import { TcpProxy } from './tcp-proxy.js';

/** A server that is started again when it ends, as a supervisor would. */
export class Server {
  #process: ServerProcess | undefined;
  #output = '';
  #isWanted = false;

  constructor(
    readonly name: string,
    private readonly databaseUrl: string,
    private readonly env: Record<string, string>,
    private readonly onDeath: (message: string) => void,
  ) {}

  get url(): string | undefined {
    return this.#process?.url;
  }

  get isApi(): boolean {
    return (this.env['WAYLOG_ROLES'] ?? 'api').includes('api');
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** The output of all its processes. */
  get output(): string {
    return this.#output + (this.#process?.output() ?? '');
  }

  /** Tries until it listens: without a database a server does not start. */
  async start(patienceMs = 60_000): Promise<void> {
    this.#isWanted = true;
    for (const patience = now() + patienceMs; ;) {
      try {
        const started = await serverProcess(this.databaseUrl, this.env);
        this.#process = started;
        const onEnd = (how: unknown) => {
          if (this.#process === started && this.#isWanted)
            this.onDeath(`${this.name} ended by itself: ${String(how)}\n${started.output().slice(-2_000)}`);
        };
        started.ended.then(onEnd, onEnd);
        return;
      } catch (error) {
        this.#output += `\n${messageOf(error)}\n`;
        if (now() > patience) throw error;
        await sleep(100);
      }
    }
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Stops it cleanly; returns how long that took, or undefined if it had to be killed in the end. */
  async stop(patienceMs: number): Promise<number | undefined> {
    const began = now();
    const ended = this.#end('SIGTERM');
    const patience = new AbortController();
    const isInTime = await Promise.race([
      ended.then(() => true),
      sleep(patienceMs, false, { signal: patience.signal }).catch(() => true),
    ]);
    patience.abort();
    if (isInTime) return now() - began;
    if (this.pid !== undefined) process.kill(this.pid, 'SIGKILL');
    await ended;
    return undefined;
  }

  async #end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.#isWanted = false;
    const ending = this.#process;
    if (!ending) return;
    await ending.end(signal);
    this.#output += ending.output();
    this.#process = undefined;
  }
}

/** The moment from which recovery is measured, and what was done. */
export interface Fault {
  readonly name: string;
  readonly began: number;
  /** When it was over; for a kill, the kill itself. */
  readonly ended: number;
}

/** Everything that a scenario can use: its own database server, a database on it, the proxy, and the servers. */
export class World {
  readonly faults: Fault[] = [];
  /** Errors that no checker sees. */
  readonly trouble: string[] = [];
  readonly servers: Server[] = [];
  readonly random: () => number;
  /** The commands acknowledged so far. */
  #acknowledged = 0;
  readonly #heard = new EventEmitter();
  readonly #endings: (() => Promise<unknown>)[] = [];

  private constructor(
    readonly place: Place,
    readonly databaseServer: OwnServer,
    readonly databaseName: string,
    readonly proxy: TcpProxy,
    readonly history: History,
    readonly folder: string,
    seed: number,
    /** Aborted when the load stops: no fault begins after that. */
    readonly signal: AbortSignal,
  ) {
    // Not the numbers that the load draws.
    this.random = seededRandom(seed + 1_000_000);
  }

  static async create(options: {
    readonly place: Place;
    readonly history: History;
    readonly folder: string;
    readonly seed: number;
    readonly signal: AbortSignal;
  }): Promise<World> {
    const { place, history, folder, seed, signal } = options;
    mkdirSync(folder, { recursive: true });
    const server = await OwnServer.start(place.instance);
    const name = `faults_${process.pid}_${Date.now().toString(36)}`;
    await server.createDatabase(name);
    const { hostname, port } = new URL(server.url);
    const proxy = await TcpProxy.listen(() => ({ host: hostname, port: Number(port) }));
    const world = new World(place, server, name, proxy, history, folder, seed, signal);
    world.atEnd(() => proxy.close());
    await migrate(world.url);
    return world;
  }

  noteAcknowledged(): void {
    this.#acknowledged++;
    this.#heard.emit('acknowledged');
  }

  /** Waits until this many more commands have been acknowledged, or the run is over. */
  async acknowledged(count: number): Promise<void> {
    const enough = this.#acknowledged + count;
    while (this.#acknowledged < enough && !this.isOver)
      await once(this.#heard, 'acknowledged', { signal: this.signal }).catch(() => undefined);
  }

  /** The database, past the proxy: for observers and for the code that breaks things. */
  get url(): string {
    const url = new URL(this.databaseServer.url);
    url.pathname = `/${this.databaseName}`;
    return url.href;
  }

  /** The database through the proxy, where faults happen: for the servers. */
  get proxiedUrl(): string {
    const url = new URL(this.url);
    url.hostname = '127.0.0.1';
    url.port = String(this.proxy.port);
    return url.href;
  }

  get instance(): DatabaseOptions {
    return this.place.instance;
  }

  /** Called when all is over, the last first. */
  atEnd(work: () => Promise<unknown>): void {
    this.#endings.unshift(work);
  }

  addServer(name: string, env: Record<string, string> = {}): Server {
    const server = new Server(name, this.proxiedUrl, env, (message) => this.trouble.push(message));
    this.servers.push(server);
    return server;
  }

  /** A server that answers HTTP; one that has just died counts too, as clients are not told. */
  apiUrl(random: () => number): string {
    const urls = this.servers.flatMap(({ url, isApi }) => (url !== undefined && isApi ? [url] : []));
    // The discard port, without a listener.
    return urls[Math.floor(random() * urls.length)] ?? 'http://127.0.0.1:9';
  }

  /** Injects a fault, and records from when to when it lasted. */
  async fault(name: string, work: () => Promise<unknown>): Promise<void> {
    const began = now();
    this.history.note({ fault: name, is: 'begun' });
    await work();
    this.faults.push({ name, began, ended: now() });
    this.history.note({ fault: name, is: 'over' });
  }

  /** A pause of the scenario; it ends early when the load stops. */
  async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.signal }).catch(() => undefined);
  }

  get isOver(): boolean {
    return this.signal.aborted;
  }

  /** Runs SQL past the proxy, as the superuser. */
  sql<Row extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<Row[]> {
    return onDatabase<Row>(this.url, text, values);
  }

  async close(): Promise<void> {
    for (const server of this.servers) await server.kill();
    for (const end of this.#endings) await end();
    await this.databaseServer.up();
    await this.databaseServer.dropDatabase(this.databaseName);
  }
}
