import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

/**
 * One keep-alive connection that sends one request at a time. It uses a plain socket: Node's own client costs several
 * times as much, and that processor time would be taken from the server and the database on the same machine.
 */
export class HttpConnection {
  #received: Buffer = Buffer.alloc(0);
  /** Bytes of the body that are still to come; undefined while the head is. */
  #missing: number | undefined;
  #status = 0;
  #done: { resolve: () => void; reject: (error: Error) => void } | undefined;

  private constructor(
    private readonly socket: Socket,
    private readonly host: string,
    private readonly key: string,
  ) {
    socket.setNoDelay(true);
    socket.on('data', (bytes) => this.#read(bytes));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('The server closed the connection.')));
  }

  static async open(url: string, key: string): Promise<HttpConnection> {
    const { hostname, port, host } = new URL(url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    return new HttpConnection(socket, host, key);
  }

  /** Resolves when the whole answer has arrived. Rejects if the status is not a success. */
  send(method: string, path: string, body?: unknown): Promise<void> {
    // A write to it would be lost, and its answer awaited forever.
    if (this.socket.destroyed)
      return Promise.reject(new Error(`${method} ${path}: the server has closed the connection.`));
    const json = body === undefined ? '' : JSON.stringify(body);
    const content = json
      ? `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(json)}\r\n`
      : '';
    return new Promise((resolve, reject) => {
      this.#done = {
        resolve,
        reject: ({ message }) => reject(new Error(`${method} ${path}: ${message}`)),
      };
      this.socket.write(
        `${method} ${path} HTTP/1.1\r\nhost: ${this.host}\r\nauthorization: Bearer ${this.key}\r\n${content}\r\n${json}`,
      );
    });
  }

  close(): Promise<void> {
    this.#done = undefined;
    this.socket.destroy();
    return Promise.resolve();
  }

  #read(bytes: Buffer): void {
    if (this.#missing === undefined) {
      this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
      const end = this.#received.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = this.#received.toString('latin1', 0, end);
      this.#status = Number(head.slice(9, 12));
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
      this.#missing = length - (this.#received.length - end - 4);
    } else {
      this.#missing -= bytes.length;
    }
    if (this.#missing > 0) return;
    const isSuccess = this.#status >= 200 && this.#status < 300;
    const error = isSuccess ? undefined : new Error(this.#received.toString());
    this.#received = Buffer.alloc(0);
    this.#missing = undefined;
    this.#end(error);
  }

  #end(error?: Error): void {
    const done = this.#done;
    this.#done = undefined;
    if (error) done?.reject(error);
    else done?.resolve();
  }
}
