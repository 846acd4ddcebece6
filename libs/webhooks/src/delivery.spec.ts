import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook as Receiver } from 'standardwebhooks';
import { eventually } from '../../../test/support/eventually.js';
import { Networks } from './addresses.js';
import { Deliverer } from './delivery.js';
import { newSigningKey, secretText } from './signing.js';

const content = { type: 'order.Paid', timestamp: '2026-01-01T00:00:00Z', data: { n: 1 } };

describe('a delivery', () => {
  const servers: Server[] = [];
  const deliverers: Deliverer[] = [];
  afterEach(async () => {
    for (const deliverer of deliverers.splice(0)) deliverer.close();
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });
  const listen = async (answer: RequestListener): Promise<string> => {
    const server = createServer(answer);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/in`;
  };
  const key = newSigningKey();
  const deliver = (url: string, allowed = ['127.0.0.0/8'], signal = new AbortController().signal) => {
    const deliverer = new Deliverer({
      allowed: new Networks(allowed),
      userAgent: 'Waylog/1',
      timeoutMs: 2_000,
    });
    deliverers.push(deliverer);
    return deliverer.deliver({ url, signing: 'hmac', keys: [key] }, 'id-1', content, signal);
  };

  it('is a signed POST of JSON', async () => {
    const seen: { method?: string | undefined; headers: IncomingHttpHeaders; body: string }[] = [];
    const url = await listen((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        seen.push({ method: request.method, headers: request.headers, body });
        response.writeHead(202).end('taken');
      });
    });
    expect(await deliver(url)).toBe(202);
    const [{ method, headers, body } = { headers: {}, body: '' }] = seen;
    expect(method).toBe('POST');
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'user-agent': 'Waylog/1',
      'webhook-id': 'id-1',
    });
    expect(new Receiver(secretText(key)).verify(body, headers as Record<string, string>)).toEqual(content);
  });

  it('follows no redirect', async () => {
    let requests = 0;
    const url = await listen((_, response) => {
      requests++;
      response.writeHead(302, { location: '/elsewhere' }).end();
    });
    expect(await deliver(url)).toBe(302);
    expect(requests).toBe(1);
  });

  it('ends after a time without an answer, and when it is told to', async () => {
    const url = await listen(() => undefined);
    await expect(deliver(url)).rejects.toThrow(/has not answered within 2 s/);
    const stop = new AbortController();
    const delivery = deliver(url, undefined, stop.signal);
    stop.abort();
    await expect(delivery).rejects.toThrow(/interrupted/);
  });

  it('takes the wish to speak another protocol for an answer', async () => {
    const url = await listen(() => undefined);
    servers[0]?.removeAllListeners('request').on('request', ({ socket }) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
    });
    expect(await deliver(url)).toBe(101);
  });

  it('does not wait for the end of an answer that is endless', async () => {
    let isClosed = false;
    const url = await listen((_, response) => {
      response.on('close', () => (isClosed = true));
      response.writeHead(200);
      const timer = setInterval(() => response.write('x'.repeat(65_536)), 1);
      response.on('close', () => clearInterval(timer));
    });
    expect(await deliver(url)).toBe(200);
    await eventually(() => isClosed);
  });

  it('goes on when the receiver has closed a connection that was kept', async () => {
    const used = new Set<unknown>();
    let hasReset = false;
    const url = await listen((request, response) => {
      if (used.has(request.socket) && !hasReset) {
        hasReset = true;
        request.socket.resetAndDestroy();
        return;
      }
      used.add(request.socket);
      request.resume();
      response.end();
    });
    const deliverer = new Deliverer({ allowed: new Networks(['127.0.0.1']), userAgent: 'x' });
    deliverers.push(deliverer);
    const { signal } = new AbortController();
    const endpoint = { url, signing: 'hmac', keys: [key] } as const;
    // Until one finds the connection of an earlier one free.
    await eventually(async () => {
      expect(await deliverer.deliver(endpoint, 'a', content, signal)).toBe(200);
      return hasReset;
    });
  });

  it('is refused to addresses that are not public, as they are written and as names stand for them', async () => {
    let requests = 0;
    const url = await listen((_, response) => {
      requests++;
      response.end();
    });
    await expect(deliver(url, [])).rejects.toThrow(/WAYLOG_WEBHOOK_NETWORKS/);
    const named = url.replace('127.0.0.1', 'localhost');
    await expect(deliver(named, ['10.1.0.0/16'])).rejects.toThrow(/localhost is no public address/);
    await expect(deliver(named.replace('http:', 'https:'), [])).rejects.toThrow(
      /localhost is no public address/,
    );
    expect(requests).toBe(0);
    expect(await deliver(named)).toBe(200);
  });

  it('names host and reason when there is no answer, and nothing else of the address', async () => {
    const url = await listen(() => undefined);
    await new Promise((resolve) => servers.pop()?.close(resolve));
    await expect(deliver(`${url}?token=secret`)).rejects.toThrow(
      expect.objectContaining({
        message: expect.stringMatching(/^127.0.0.1:\d+: .*ECONNREFUSED[^?]*$/) as string,
      }) as Error,
    );
    await expect(deliver('https://nowhere.invalid/')).rejects.toThrow(/nowhere.invalid/);
  });
});
