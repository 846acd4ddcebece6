import { Logger } from '@nestjs/common';
import { useServer } from './support/server.js';

describe('a request', () => {
  const server = useServer({ WAYLOG_VERIFY_SHARE: '0', LOG_LEVEL: 'debug' });
  const idOf = async (given?: string) =>
    (
      await server.call('GET', '/v1/flights', undefined, { ...(given && { 'x-request-id': given }) })
    ).headers.get('x-request-id');

  it("has an id: its caller's, or a new one", async () => {
    expect(await idOf('flight-17.frame:4')).toBe('flight-17.frame:4');
    const ids = [await idOf(), await idOf()];
    expect(new Set(ids).size).toBe(2);
    for (const id of ids) expect(id).toMatch(/^[\da-f-]{36}$/);
  });

  it.each(['two words', 'x'.repeat(65), 'a"b', '<b>'])('gets another id than %s', async (given) => {
    expect(await idOf(given)).toMatch(/^[\da-f-]{36}$/);
  });

  it('is a line of the log, with its route and without its address', async () => {
    const debug = jest.spyOn(Logger.prototype, 'debug');
    try {
      await server.call('GET', '/v1/flights/secret-7', undefined, { 'x-request-id': 'mine' });
      // The line is written after the answer.
      await server.call('GET', '/health/live');
      const lines = debug.mock.calls.map(([line]) => String(line)).filter((line) => line.endsWith('mine'));
      expect(lines).toEqual([
        expect.stringMatching(/^GET \/v1\/flights\/:id 404 in [\d.]+ ms, by .+, request mine$/),
      ]);
      expect(lines.join()).not.toContain('secret-7');
    } finally {
      debug.mockRestore();
    }
  });

  it('that is refused before anything is read has an id too', async () => {
    const { status, headers } = await server.call('GET', '/v1/flights', undefined, { authorization: '' });
    expect([status, headers.get('x-request-id')]).toEqual([401, expect.stringMatching(/^[\da-f-]{36}$/)]);
  });
});
