import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { NotLeaderError, type Credentials } from '@eventstore/db-client';
import { backoffDelay, inTime, messageOf } from '#lib/platform';
import { explained, isBusy, isTransient, NoAnswer, NoLeader } from './calls.js';
import { parseConnectionString, type ConnectionSettings, type Endpoint } from './connection-string.js';
import { nameOf, Node, type Member } from './node.js';

/** How long a call may take in all, where nobody says. A cluster elects a leader within five to six seconds. */
const DEFAULT_DEADLINE_MS = 10_000;

/** So often can a call miss an answer and be sent again. */
const ATTEMPTS = 3;

const MAX_PAUSE_MS = 500;

/**
 * The way to the node that leads: found by asking the nodes, held while it answers, looked for again when it does not. Every
 * call has one bound in all, whatever happens meanwhile; within it whatever may be repeated is sent again.
 */
export class Connection {
  readonly credentials: Credentials;
  readonly deadlineMs: number;
  /** How long one attempt waits for an answer, and a read for its next event, before somebody is asked who leads. */
  readonly attemptMs: number;
  readonly withoutEffect: readonly string[];
  readonly #settings: ConnectionSettings;
  readonly #closed = new AbortController();
  readonly #nodes = new Set<Node>();
  #leader: Promise<Node> | undefined;
  #current: Node | undefined;
  /** Where a node has said that another one leads. */
  #hint: Endpoint | undefined;
  /** What the cluster has said of itself: its nodes may all have moved away from the seeds. */
  #known: readonly Endpoint[] = [];

  /**
   * Opens nothing yet. `beforeUse` looks at each node before any call is sent there.
   * @throws WaylogError `log.connection-string`
   */
  constructor(
    connectionString: string,
    deadlineMs?: number,
    private readonly beforeUse: (node: Node) => Promise<void> = () => Promise.resolve(),
  ) {
    // Every call that waits for its next attempt listens for the end.
    setMaxListeners(0, this.#closed.signal);
    this.#settings = parseConnectionString(connectionString);
    this.credentials = this.#settings.credentials;
    this.withoutEffect = this.#settings.withoutEffect;
    this.deadlineMs = deadlineMs ?? this.#settings.deadlineMs ?? DEFAULT_DEADLINE_MS;
    this.attemptMs = Math.ceil(this.deadlineMs / ATTEMPTS);
  }

  /** When a call that begins now has to have its answer, by `performance.now()`. */
  get due(): number {
    return performance.now() + this.deadlineMs;
  }

  /**
   * Does a call that is harmless when repeated on the leader: a read, or an append with fixed ids and a fixed expected revision.
   * `attempt` has so many milliseconds for an answer, or the next part of one; what fails for a moment is tried again until it is
   * due. @throws what `explained` says
   */
  async call<T>(attempt: (node: Node, deadlineMs: number) => Promise<T>, due = this.due): Promise<T> {
    for (let failures = 0; ;) {
      let node: Node | undefined;
      try {
        const left = due - performance.now();
        if (left <= 0) throw new NoAnswer(this.deadlineMs);
        node = await inTime(left, this.leader(), () => new NoAnswer(Math.ceil(left)));
        return await attempt(node, Math.min(this.attemptMs, Math.max(1, due - performance.now())));
      } catch (error) {
        if (!isTransient(error)) throw explained(error, this.deadlineMs);
        if (node) this.forget(node, error);
        const pause = backoffDelay(++failures, 20, MAX_PAUSE_MS);
        if (this.#closed.signal.aborted || performance.now() + pause >= due)
          throw explained(error, this.deadlineMs);
        await sleep(pause, undefined, { signal: this.#closed.signal }).catch(() => undefined);
      }
    }
  }

  /** The node that leads, as far as is known. @throws NoLeader */
  leader(): Promise<Node> {
    if (this.#closed.signal.aborted) return Promise.reject(new NoLeader('the store is closed'));
    if (this.#current?.isLost) this.forget(this.#current, new Error('the connection was lost'));
    if (!this.#leader) {
      const found = this.#findLeader().then((endpoint) => this.#take(endpoint));
      found.catch(() => (this.#leader = undefined));
      this.#leader = found;
    }
    return this.#leader;
  }

  /** After a failure that may be the node's: the next call asks who leads, and connects anew. Calls under way are left alone. */
  forget(node: Node, error: unknown): void {
    if (node !== this.#current || isBusy(error)) return;
    this.#hint = error instanceof NotLeaderError ? error.leader : undefined;
    this.#current = undefined;
    this.#leader = undefined;
    node.leave();
    // eslint-disable-next-line @typescript-eslint/no-floating-promises -- it never fails: it cancels, and waits for that
    setTimeout(() => void this.#close(node), this.deadlineMs).unref();
  }

  /** What is under way gets no further attempt; what comes now is refused. */
  stop(): void {
    this.#closed.abort();
  }

  async close(): Promise<void> {
    this.stop();
    await Promise.all([...this.#nodes].map((node) => this.#close(node)));
  }

  async #take(endpoint: Endpoint): Promise<Node> {
    const node = this.#open(endpoint);
    try {
      await this.beforeUse(node);
    } catch (error) {
      await this.#close(node);
      throw error;
    }
    return (this.#current = node);
  }

  #open(endpoint: Endpoint): Node {
    const node = new Node(endpoint, this.#settings);
    this.#nodes.add(node);
    return node;
  }

  async #close(node: Node): Promise<void> {
    this.#nodes.delete(node);
    await node.close();
  }

  async #findLeader(): Promise<Endpoint> {
    const hint = this.#hint;
    this.#hint = undefined;
    const [only] = this.#settings.seeds;
    const endpoint = hint ?? (this.#settings.isCluster ? undefined : only);
    if (endpoint) return endpoint;
    const view = await this.#askAround();
    this.#known = view.filter(({ isAlive }) => isAlive).map(({ endpoint }) => endpoint);
    return (leaderOf(view) as Member).endpoint;
  }

  /**
   * Asks all nodes at once. The first that sees a leader and most of the cluster alive is believed at once; a node that is cut off
   * from the others goes on calling itself the leader for a while.
   */
  async #askAround(): Promise<readonly Member[]> {
    const asked = new Map([...this.#settings.seeds, ...this.#known].map((at) => [nameOf(at), at]));
    const views: (readonly Member[])[] = [];
    const failures: string[] = [];
    const ask = async (endpoint: Endpoint): Promise<readonly Member[]> => {
      const node = this.#open(endpoint);
      try {
        const view = await node.members(this.attemptMs);
        if (leaderOf(view)) views.push(view);
        if (leaderOf(view) && alive(view) * 2 > view.length) return view;
        throw new Error('it knows no leader that most nodes follow');
      } catch (error) {
        failures.push(`${nameOf(endpoint)}: ${messageOf(error)}`);
        throw error;
      } finally {
        await this.#close(node);
      }
    };
    try {
      return await Promise.any([...asked.values()].map(ask));
    } catch {
      const [best] = views.sort((a, b) => alive(b) - alive(a));
      if (best) return best;
      throw new NoLeader(failures.join('; '));
    }
  }
}

const leaderOf = (view: readonly Member[]) => view.find(({ isAlive, isLeader }) => isAlive && isLeader);

const alive = (view: readonly Member[]): number => view.filter(({ isAlive }) => isAlive).length;
