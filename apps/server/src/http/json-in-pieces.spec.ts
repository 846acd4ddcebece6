import fc from 'fast-check';
import fastify from 'fastify';
import { tooMany } from '#lib/platform';
import { jsonInPieces, longLists } from './json-in-pieces.js';
import { sendProblem } from './problem.js';

describe('JSON in pieces', () => {
  const same = async (value: unknown) =>
    expect((await jsonInPieces(value)).toString()).toBe(JSON.stringify(value));

  it('is what JSON.stringify writes', async () => {
    const item = fc.oneof(fc.jsonValue(), fc.constant(undefined), fc.date({ noInvalidDate: true }));
    await fc.assert(fc.asyncProperty(fc.array(item), same));
    await fc.assert(fc.asyncProperty(fc.dictionary(fc.string(), fc.oneof(item, fc.array(item))), same));
    await same(Array.from({ length: 20_000 }, (_, n) => ({ n, name: 'é\u2028"'.repeat(9) })));
    await same({ items: Array.from({ length: 5_000 }, (_, n) => [n]), total: 5_000, limit: undefined });
  });

  it('lets other work run in between', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    await jsonInPieces(Array.from({ length: 100_000 }, (_, n) => ({ n, text: 'x'.repeat(50) })));
    clearInterval(timer);
    expect(turns).toBeGreaterThan(1);
  });

  it('is not created if it would be too large', async () => {
    const many = Array.from({ length: 300 }, () => 'x'.repeat(64 * 1024));
    await expect(jsonInPieces({ items: many })).rejects.toMatchObject({ code: 'answer.too-large' });
  });
});

describe('a long list', () => {
  it('is answered as a problem if it is refused once it exists', async () => {
    const server = fastify();
    server.addHook('preSerialization', longLists);
    server.addHook('onSend', (_request, reply, _payload, done) => {
      if (reply.statusCode < 400) done(tooMany('answers.too-many', 'There are too many.', 1));
      else done();
    });
    server.setErrorHandler((error, _request, reply) => sendProblem(reply, error));
    server.get('/', () => Array.from({ length: 1_000 }, (_, n) => n));
    const { statusCode, headers, body } = await server.inject('/');
    expect([statusCode, headers['content-type'], headers['retry-after']]).toEqual([
      429,
      'application/problem+json',
      '1',
    ]);
    expect(JSON.parse(body)).toMatchObject({ status: 429, code: 'answers.too-many' });
    await server.close();
  });
});
