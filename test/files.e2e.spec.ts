import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { flight } from '#lib/flight';
import { readConfig } from '#lib/platform';
import { startServer } from '../apps/server/src/server.js';
import { ADMIN_KEY } from './support/admin-key.js';
import { testDatabase } from './support/database.js';
import { eventually } from './support/eventually.js';
import { httpClient, useServer } from './support/server.js';

const JPEG = Buffer.from('ffd8ffe000104a46494600010100', 'hex');
const picture = (bytes: number) => Buffer.concat([JPEG, randomBytes(bytes - JPEG.length)]);
const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const reprDigest = (bytes: Uint8Array) => `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;

describe('the content of images', () => {
  const env = { WAYLOG_VERIFY_SHARE: '0', WAYLOG_FILES_MAX_MB: '20', WAYLOG_FILES_DIR: '' };
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waylog-files-'));
    env.WAYLOG_FILES_DIR = folder;
  });
  const server = useServer(env);
  afterAll(() => rm(folder, { recursive: true }));

  let flights = 0;
  let path: string;
  beforeEach(async () => {
    const id = `pictures-${++flights}`;
    const made = await server.call('POST', '/v1/flights', {
      id,
      name: 'Pictures',
      startGps: { lat: 63, lon: 10 },
      altitude: 100,
    });
    expect(made.status).toBe(201);
    path = `/v1/flights/${id}/images/1`;
  });

  const send = (method: string, to: string, body?: Uint8Array, headers: Record<string, string> = {}) =>
    fetch(server.url + to, {
      method,
      headers: { authorization: `Bearer ${ADMIN_KEY}`, ...headers },
      ...(body && { body: body as never }),
    });
  const put = async (body: Uint8Array, headers?: Record<string, string>, to = `${path}/content`) => {
    const response = await send('PUT', to, body, headers);
    return {
      status: response.status,
      headers: response.headers,
      body: (await response.json()) as Record<string, string> & { position: string },
    };
  };
  /** Reads after what was put. */
  const get = async (position: string, headers: Record<string, string> = {}, method = 'GET') => {
    const response = await send(method, `${path}/content`, undefined, {
      'waylog-min-position': position,
      ...headers,
    });
    return { response, bytes: Buffer.from(await response.arrayBuffer()) };
  };
  const stored = async () =>
    (await readdir(folder, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map(({ name }) => name);

  it('is stored as it is sent, whatever it is called, and read back', async () => {
    // Larger than any JSON that is taken.
    const bytes = picture(12_000_000);
    const { status, body } = await put(bytes, {
      'content-type': 'text/plain',
      'repr-digest': reprDigest(bytes),
    });
    expect([status, body]).toEqual([
      200,
      { flightId: expect.any(String), revision: expect.any(Number), position: body.position },
    ]);
    const { response, bytes: read } = await get(body.position);
    expect(read.equals(bytes)).toBe(true);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/jpeg',
      'content-length': '12000000',
      'accept-ranges': 'bytes',
      etag: `"${digestOf(bytes)}"`,
      'repr-digest': reprDigest(bytes),
      'x-content-type-options': 'nosniff',
      'cache-control': 'private, no-cache',
    });
    const image = await server.call('GET', path);
    expect(image.body).toMatchObject({
      filePath: `${path}/content`,
      content: { sha256: digestOf(bytes), size: 12_000_000, type: 'image/jpeg' },
    });
    expect(await stored()).toContain(digestOf(bytes));
  });

  it('is no news when it is sent again, and keeps the path that is known', async () => {
    const bytes = picture(1_000);
    await server.call('PUT', path, { filePath: '/mine/1.jpg', metadata: { width: 1 } });
    const first = await put(bytes);
    expect((await put(bytes)).body).toEqual(first.body);
    expect(
      (await server.call('PUT', path, { filePath: '/mine/1.jpg', metadata: { width: 1 } })).body,
    ).toEqual(first.body);
    await get(first.body.position);
    expect((await server.call('GET', path)).body).toMatchObject({
      filePath: '/mine/1.jpg',
      metadata: { width: 1 },
      content: { sha256: digestOf(bytes) },
    });
  });

  it('is answered in parts, and not at all to who has it', async () => {
    const bytes = picture(100_000);
    const { body } = await put(bytes);
    const tag = `"${digestOf(bytes)}"`;
    const part = async (range: string, more = {}) => {
      const { response, bytes: read } = await get(body.position, { range, ...more });
      return [response.status, response.headers.get('content-range'), read.length] as const;
    };
    expect(await part('bytes=0-9')).toEqual([206, 'bytes 0-9/100000', 10]);
    expect(await part('bytes=99990-')).toEqual([206, 'bytes 99990-99999/100000', 10]);
    expect(await part('bytes=-10')).toEqual([206, 'bytes 99990-99999/100000', 10]);
    expect(await part('bytes=99990-200000')).toEqual([206, 'bytes 99990-99999/100000', 10]);
    expect(await part('bytes=100000-')).toEqual([416, 'bytes */100000', expect.any(Number)]);
    expect(await part('bytes=0-9,20-29')).toEqual([200, null, 100_000]);
    expect(await part('lines=1-2')).toEqual([200, null, 100_000]);
    expect(await part('bytes=0-9', { 'if-range': tag })).toEqual([206, 'bytes 0-9/100000', 10]);
    expect(await part('bytes=0-9', { 'if-range': '"other"' })).toEqual([200, null, 100_000]);
    for (const tags of [tag, `W/${tag}`, `"other", ${tag}`, '*']) {
      const { response } = await get(body.position, { 'if-none-match': tags });
      expect([response.status, response.headers.get('etag')]).toEqual([304, tag]);
    }
    const head = await get(body.position, {}, 'HEAD');
    expect([head.response.status, head.response.headers.get('content-length'), head.bytes.length]).toEqual([
      200,
      '100000',
      0,
    ]);
    expect((await get(body.position, { range: 'bytes=5-6' })).bytes).toEqual(bytes.subarray(5, 7));
  });

  it.each([
    ['what is no picture', Buffer.from('#!/bin/sh\necho no'), {}, 415, 'file.type-refused'],
    ['nothing', Buffer.alloc(0), {}, 400, 'file.empty'],
    ['another digest', picture(1_000), { 'repr-digest': reprDigest(JPEG) }, 400, 'file.other-digest'],
    [
      'another Content-Digest',
      picture(1_000),
      { 'content-digest': reprDigest(JPEG) },
      400,
      'file.other-digest',
    ],
    ['a digest that is none', picture(1_000), { 'repr-digest': 'sha-256=abc' }, 400, 'input.invalid'],
    ['a part', picture(1_000), { 'content-range': 'bytes 0-999/2000' }, 400, 'input.invalid'],
    ['a coding', picture(1_000), { 'content-encoding': 'gzip' }, 415, 'file.coded'],
    ['JSON', Buffer.from('{"frameId":1}'), { 'content-type': 'application/json' }, 415, 'file.type-refused'],
    ['more than is taken', picture(20_000_001), {}, 413, 'file.too-large'],
  ])('is refused when it is %s, and nothing of it is kept', async (_, bytes, headers, status, code) => {
    const before = await stored();
    const answer = await put(bytes, headers);
    expect([answer.status, answer.body['code']]).toEqual([status, code]);
    expect(await stored()).toEqual(before);
    expect((await server.call('GET', `${path}/content`)).status).toBe(404);
  });

  it('is refused for a flight that is not there before a byte of it is stored', async () => {
    const before = await stored();
    const answer = await put(picture(1_000), {}, '/v1/flights/none/images/1/content');
    expect([answer.status, answer.body['code']]).toEqual([404, 'flight.not-found']);
    expect(await stored()).toEqual(before);
  });

  it('is refused when more arrives than is taken although no length was announced, and the sender is told', async () => {
    const { hostname, port } = new URL(server.url);
    const sending = request({
      hostname,
      port,
      method: 'PUT',
      path: `${path}/content`,
      headers: { authorization: `Bearer ${ADMIN_KEY}`, 'transfer-encoding': 'chunked' },
    });
    sending.on('error', () => undefined);
    const answered = once(sending, 'response') as Promise<[{ statusCode: number }]>;
    sending.write(JPEG);
    const piece = Buffer.alloc(1_000_000);
    for (let sent = 0; sent < 21; sent++) sending.write(piece);
    expect((await answered)[0].statusCode).toBe(413);
    sending.destroy();
  });

  it('is read to its end when it is refused, so that the next request on its connection is heard', async () => {
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    socket.setTimeout(30_000, () => socket.destroy(new Error('Nothing arrived for 30 s.')));
    const key = `authorization: Bearer ${ADMIN_KEY}`;
    const refused = Buffer.alloc(300_000, 'x');
    socket.write(
      `PUT ${path}/content HTTP/1.1\r\nhost: x\r\n${key}\r\ncontent-length: ${refused.length}\r\n\r\n`,
    );
    socket.write(refused);
    let answered = '';
    const until = async (text: string) => {
      while (!answered.includes(text)) answered += ((await once(socket, 'data')) as [Buffer])[0].toString();
    };
    await until('HTTP/1.1 415');
    socket.write('GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n');
    await until('HTTP/1.1 200');
    socket.destroy();
  });

  it('leaves nothing behind when its sender goes', async () => {
    const before = await stored();
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    const unfinished = async () => readdir(join(folder, '.unfinished')).catch(() => []);
    socket.write(
      `PUT ${path}/content HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ADMIN_KEY}\r\ncontent-length: 1000000\r\n\r\n`,
    );
    socket.write(picture(100_000));
    const until = async (is: (names: string[]) => boolean) => {
      while (!is(await unfinished())) await new Promise(setImmediate);
    };
    await until((names) => names.length === 1);
    socket.destroy();
    await until((names) => names.length === 0);
    expect(await stored()).toEqual(before);
  });

  it('cannot be claimed by a command that names a file', async () => {
    const command = {
      serviceName: 'waylog',
      command: 'StoreImageContent',
      parameters: {
        flightId: path.split('/')[3],
        frameId: 1,
        content: { sha256: 'a'.repeat(64), size: 1, type: 'image/png' },
      },
    };
    const { status, body } = await server.call('POST', '/v1/commands', command);
    expect([status, body.errors[0].field]).toEqual([400, 'command']);
  });

  it('is never answered damaged as if it was whole', async () => {
    const bytes = picture(300_000);
    const { body } = await put(bytes);
    const sha256 = digestOf(bytes);
    const rotten = Buffer.from(bytes);
    rotten[200_000]! ^= 1;
    await writeFile(join(folder, sha256.slice(0, 2), sha256.slice(2, 4), sha256), rotten);
    await expect(get(body.position)).rejects.toThrow();
    const damaged = async () =>
      (await send('GET', '/metrics').then((r) => r.text())).match(/^waylog_files_damaged (\d+)/m)?.[1];
    expect(await damaged()).toBe('1');
    // Sent again, it is whole again.
    expect((await put(bytes)).status).toBe(200);
    expect(await damaged()).toBe('0');
    expect((await get(body.position)).bytes.equals(bytes)).toBe(true);
  });

  it('is answered in no part when it has become shorter or longer', async () => {
    for (const length of [1_000, 9_000]) {
      const bytes = picture(2_000);
      const { body } = await put(bytes);
      const sha256 = digestOf(bytes);
      await truncate(join(folder, sha256.slice(0, 2), sha256.slice(2, 4), sha256), length);
      const { response } = await get(body.position, { range: 'bytes=500-1999' });
      expect([response.status, response.headers.get('content-type')]).toEqual([
        503,
        'application/problem+json',
      ]);
      expect((await get(body.position, {}, 'HEAD')).response.status).toBe(503);
    }
  });

  it('ends the connection of one that is refused with much of it still to come', async () => {
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    socket.setTimeout(30_000, () => socket.destroy(new Error('Nothing arrived for 30 s.')));
    socket.write(
      `PUT ${path}/content HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ADMIN_KEY}\r\ncontent-length: 999000000\r\n\r\n`,
    );
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 413 [^]*connection: close/i);
    await once(socket.resume(), 'close');
  });

  it('holds up no command, however slowly many of them come', async () => {
    const { hostname, port } = new URL(server.url);
    const bearer = `authorization: Bearer ${ADMIN_KEY}`;
    const slow = Array.from({ length: 8 }, () => {
      const socket = connect(Number(port), hostname);
      socket.on('error', () => undefined);
      socket.write(`PUT ${path}/content HTTP/1.1\r\nhost: x\r\n${bearer}\r\ncontent-length: 9000000\r\n\r\n`);
      socket.write(picture(100_000));
      return socket;
    });
    const unfinished = async () => (await readdir(join(folder, '.unfinished'))).length;
    await eventually(async () => (await unfinished()) === slow.length, unfinished);
    const ninth = await put(picture(1_000));
    expect([ninth.status, ninth.body['code']]).toEqual([429, 'files.too-many']);
    const metadata = { filePath: '1.jpg', metadata: {} };
    expect((await server.call('PUT', path, metadata)).status).toBe(200);
    for (const socket of slow) socket.destroy();
    await eventually(async () => (await unfinished()) === 0, unfinished);
    expect((await put(picture(1_000))).status).toBe(200);
  });

  it('says that a file is missing which an event names', async () => {
    const bytes = picture(1_000);
    const { body } = await put(bytes);
    const sha256 = digestOf(bytes);
    await rm(join(folder, sha256.slice(0, 2), sha256.slice(2, 4), sha256));
    const { response } = await get(body.position);
    expect([response.status, response.headers.get('content-type')]).toEqual([
      503,
      'application/problem+json',
    ]);
    // Whoever has it is not told that all is well.
    expect((await get(body.position, { 'if-none-match': `"${sha256}"` })).response.status).toBe(503);
  });
});

describe('a file that arrives slowly', () => {
  it('holds up no stop, and its sender is told', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'waylog-files-'));
    const database = await testDatabase();
    const env = { DATABASE_URL: database.url, PORT: '0', WAYLOG_FILES_DIR: folder };
    const app = await startServer(readConfig({ ...env, WAYLOG_ADMIN_KEY: ADMIN_KEY }, [flight]));
    const { call } = httpClient(() => url);
    const url = await app.getUrl();
    const made = await call('POST', '/v1/flights', {
      id: 'f1',
      name: 'F',
      startGps: { lat: 63, lon: 10 },
      altitude: 1,
    });
    expect(made.status).toBe(201);
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    socket.setTimeout(60_000, () => socket.destroy(new Error('Nothing arrived for 60 s.')));
    socket.write(
      `PUT /v1/flights/f1/images/1/content HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ADMIN_KEY}\r\ncontent-length: 1000000\r\n\r\n`,
    );
    socket.write(picture(100_000));
    const unfinished = () => readdir(join(folder, '.unfinished')).catch(() => []);
    await eventually(async () => (await unfinished()).length === 1);
    const closed = app.close();
    const answer = (await text(socket)).toLowerCase();
    expect(answer).toMatch(/^http\/1.1 503 /);
    expect(answer).toContain('"server.stopping"');
    expect(answer).toContain('connection: close');
    await closed;
    expect(await unfinished()).toEqual([]);
    await database.drop();
    await rm(folder, { recursive: true });
  });
});

describe('a server that keeps no files', () => {
  const server = useServer({ WAYLOG_VERIFY_SHARE: '0' });

  it('says so', async () => {
    await server.call('POST', '/v1/flights', {
      id: 'f',
      name: 'F',
      startGps: { lat: 63, lon: 10 },
      altitude: 1,
    });
    const response = await fetch(`${server.url}/v1/flights/f/images/1/content`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${ADMIN_KEY}` },
      body: JPEG as never,
    });
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([
      503,
      'files.none',
    ]);
  });
});
