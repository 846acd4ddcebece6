import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/**
 * What the connection between server and database does with data:
 * - `pass`: nothing
 * - `cut`: connections end at once, and so does every new one
 * - `delayed`: everything arrives, in order, with this delay
 * - `held`: nothing arrives until the connection is free again, and then all of it: a network that was down for a while
 * - `black-hole`: what is sent on a connection is dropped from now on, even once the proxy passes data again; new
 *   connections are accepted and never answered: a firewall that has forgotten the connection
 */
export type Way = 'pass' | 'cut' | 'held' | 'black-hole' | { readonly delayed: number };

interface Link {
  readonly near: Socket;
  readonly far: Socket;
  isSwallowed: boolean;
}

/** A TCP proxy on its own port, in front of the `target` at the time of each connection. */
export class TcpProxy {
  readonly #server = createServer((near) => this.#accept(near));
  readonly #links = new Set<Link>();
  #way: Way = 'pass';
  /** Called when the mode has changed: held data may be sent. */
  readonly #changed = new Set<() => void>();

  private constructor(private readonly target: () => { readonly host: string; readonly port: number }) {}

  static async listen(target: () => { readonly host: string; readonly port: number }): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#links.size;
  }

  set(way: Way): void {
    this.#way = way;
    if (way === 'cut') for (const link of this.#links) this.#end(link);
    if (way === 'black-hole') for (const link of this.#links) link.isSwallowed = true;
    for (const changed of this.#changed) changed();
  }

  async close(): Promise<void> {
    for (const link of this.#links) this.#end(link);
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(near: Socket): void {
    if (this.#way === 'cut') {
      near.destroy();
      return;
    }
    const link: Link = { near, far: connect(this.target()), isSwallowed: this.#way === 'black-hole' };
    this.#links.add(link);
    for (const socket of [link.near, link.far]) {
      socket.setNoDelay(true);
      // When one end closes, so does the other, as without a proxy.
      socket.on('error', () => this.#end(link));
      socket.on('close', () => this.#end(link));
    }
    this.#forward(link, link.near, link.far);
    this.#forward(link, link.far, link.near);
  }

  #forward(link: Link, from: Socket, to: Socket): void {
    let last = Promise.resolve();
    // One after another, so that the order is kept when the delay changes.
    const inOrder = (deliver: () => void) => {
      const due = performance.now() + (typeof this.#way === 'object' ? this.#way.delayed : 0);
      last = last.then(async () => {
        const wait = due - performance.now();
        if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
        while (this.#way === 'held' && !to.destroyed) await this.#next();
        if (!link.isSwallowed) deliver();
      });
    };
    from.on('data', (bytes: Buffer) => inOrder(() => to.write(bytes)));
    from.on('end', () => inOrder(() => to.end()));
  }

  #next(): Promise<void> {
    return new Promise((resolve) => {
      const changed = () => {
        this.#changed.delete(changed);
        resolve();
      };
      this.#changed.add(changed);
    });
  }

  #end(link: Link): void {
    // A black-holed connection ends only at the end that closes it.
    if (link.isSwallowed && this.#way !== 'cut' && !link.near.destroyed && !this.#isClosing) return;
    this.#links.delete(link);
    link.near.destroy();
    link.far.destroy();
  }

  get #isClosing(): boolean {
    return !this.#server.listening;
  }
}
