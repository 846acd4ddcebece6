import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '../../../test/support/eventually.js';
import { Networks } from './addresses.js';
import { Deliverer } from './delivery.js';
import { newSigningKey, secretText, signatures } from './signing.js';

const page = readFileSync('docs/how-to/webhooks.md', 'utf8');
const [, example = ''] = /```js\n([\s\S]*?)```/.exec(page) ?? [];

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });

describe('the receiver in docs/how-to/webhooks.md', () => {
  const key = newSigningKey();
  const folder = mkdtempSync(join(tmpdir(), 'waylog-receiver-'));
  let receiver: ChildProcess;
  let url: string;
  let output = '';
  beforeAll(async () => {
    const file = join(folder, 'receiver.mjs');
    writeFileSync(file, example);
    const port = await freePort();
    url = `http://127.0.0.1:${port}/`;
    receiver = spawn(process.execPath, [file], {
      env: { ...process.env, WEBHOOK_SECRET: secretText(key), PORT: String(port) },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    receiver.stdout?.on('data', (data: Buffer) => (output += data.toString()));
    await eventually(() =>
      fetch(url).then(
        ({ status }) => status === 401,
        () => false,
      ),
    );
  });
  afterAll(() => {
    receiver.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });
  const deliver = async (eventId: string, ...keys: Buffer[]) => {
    const deliverer = new Deliverer({ allowed: new Networks(['127.0.0.1']), userAgent: 'x' });
    const content = {
      type: 'order.Paid',
      timestamp: '2026-12-01T00:00:00Z',
      data: { eventId, streamId: 'order-1', revision: 1 },
    };
    try {
      return await deliverer.deliver(
        { url, signing: 'hmac', keys },
        eventId,
        content,
        new AbortController().signal,
      );
    } finally {
      deliverer.close();
    }
  };

  it('takes what is signed, once, and nothing else', async () => {
    expect(await deliver('a', key)).toBe(204);
    expect(await deliver('a', key)).toBe(204);
    // Between two keys.
    expect(await deliver('b', newSigningKey(), key)).toBe(204);
    expect(await deliver('c', newSigningKey())).toBe(401);
    await eventually(() => output.split('\n').length > 2);
    expect(output).toBe('order.Paid order-1 1\norder.Paid order-1 1\n');
  });

  it('outlives a request that ends in the middle', async () => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc');
    await eventually(() => socket.writableLength === 0 && !socket.connecting);
    socket.destroy();
    await once(socket, 'close');
    expect(await deliver('e', key)).toBe(204);
    expect(await deliver('f', key)).toBe(204);
    expect(receiver.exitCode).toBeNull();
  });

  it('takes nothing that is old, or was changed', async () => {
    const now = Math.floor(Date.now() / 1_000);
    const send = (timestamp: number, body: string) =>
      fetch(url, {
        method: 'POST',
        body,
        headers: {
          'webhook-id': 'd',
          'webhook-timestamp': String(timestamp),
          'webhook-signature': signatures('hmac', [key], { id: 'd', timestamp, body: '{"data":{}}' }),
        },
      }).then(({ status }) => status);
    expect(await send(now, '{"data":{}}')).toBe(204);
    expect(await send(now - 400, '{"data":{}}')).toBe(401);
    expect(await send(now, '{"data":{"n":1}}')).toBe(401);
  });
});
