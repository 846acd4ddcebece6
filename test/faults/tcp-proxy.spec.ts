import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { TcpProxy } from './tcp-proxy.js';

describe('TcpProxy', () => {
  let echo: Server;
  let proxy: TcpProxy;
  beforeEach(async () => {
    echo = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.pipe(socket);
    });
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    proxy = await TcpProxy.listen(() => ({
      host: '127.0.0.1',
      port: (echo.address() as AddressInfo).port,
    }));
  });
  afterEach(async () => {
    await proxy.close();
    echo.close();
  });

  const open = async () => {
    const socket = connect(proxy.port, '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    const heard: string[] = [];
    const waiting: (() => void)[] = [];
    socket.on('data', (data: Buffer) => {
      heard.push(data.toString());
      for (const wake of waiting.splice(0)) wake();
    });
    return {
      socket,
      text: () => heard.join(''),
      hears: async (text: string) => {
        while (heard.join('') !== text) await new Promise<void>((resolve) => waiting.push(resolve));
      },
    };
  };

  it('passes on what is sent, both ways', async () => {
    const client = await open();
    client.socket.write('hello');
    await client.hears('hello');
    client.socket.destroy();
  });

  it('delivers late, and in order, in the mode delayed', async () => {
    const client = await open();
    proxy.set({ delayed: 60 });
    const began = performance.now();
    client.socket.write('one ');
    await sleep(10);
    proxy.set('pass');
    client.socket.write('two');
    await client.hears('one two');
    expect(performance.now() - began).toBeGreaterThanOrEqual(59);
    client.socket.destroy();
  });

  it('holds everything back, and then delivers it', async () => {
    const client = await open();
    proxy.set('held');
    client.socket.write('later');
    await sleep(50);
    expect(client.text()).toBe('');
    proxy.set('pass');
    await client.hears('later');
    client.socket.destroy();
  });

  it('cuts open and new connections', async () => {
    const client = await open();
    const ended = once(client.socket, 'close');
    proxy.set('cut');
    await ended;
    const next = connect(proxy.port, '127.0.0.1');
    next.on('error', () => undefined);
    await once(next, 'close');
    proxy.set('pass');
    const third = await open();
    third.socket.write('again');
    await third.hears('again');
    third.socket.destroy();
  });

  it('drops permanently what is sent on a black-holed connection, and does not close it', async () => {
    const client = await open();
    client.socket.write('before ');
    await client.hears('before ');
    proxy.set('black-hole');
    client.socket.write('lost');
    const during = await open();
    during.socket.write('never answered');
    await sleep(50);
    proxy.set('pass');
    const after = await open();
    after.socket.write('answered');
    await after.hears('answered');
    expect(client.text()).toBe('before ');
    expect(during.text()).toBe('');
    expect(client.socket.closed).toBe(false);
    for (const { socket } of [client, during, after]) socket.destroy();
  });
});
