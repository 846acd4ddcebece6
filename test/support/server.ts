import { setTimeout as sleep } from 'node:timers/promises';
import { Ajv } from 'ajv';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { readConfig } from '#lib/platform';
import { startServer } from '../../apps/server/src/server.js';
import { migrate, type DeclaredContext } from '../../migrations/index.js';
import { ADMIN_KEY } from './admin-key.js';
import { testDatabase, type Log, type TestDatabase } from './database.js';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests look into answers of every shape
  readonly body: any;
}

export interface HttpClient {
  readonly call: (
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ) => Promise<Answer>;
}

/** Calls a server as a client would: JSON in, JSON out, with the admin key unless `headers` say otherwise. */
export const httpClient = (baseUrl: () => string): HttpClient => ({
  async call(method, path, body, headers = {}) {
    const response = await fetch(baseUrl() + path, {
      method,
      headers: {
        authorization: `Bearer ${ADMIN_KEY}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  },
});

interface OpenApi {
  readonly paths: Record<
    string,
    Record<string, { responses: Record<string, { content?: Record<string, { schema: object }> }> }>
  >;
  readonly components: object;
}

/** Throws if an answer does not match the server's own OpenAPI document. */
function openApiCheck(document: OpenApi) {
  const routes = Object.entries(document.paths).map(([path, methods]) => ({
    pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
    methods,
  }));
  const ajv = new Ajv({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: 'openapi', components: document.components });
  return (method: string, path: string, { status, headers, body }: Answer) => {
    const route = routes.find(({ pattern }) => pattern.test(path.split('?')[0] as string));
    const responses = route?.methods[method.toLowerCase()]?.responses;
    if (!responses) return;
    const response = responses[String(status)] ?? (status >= 400 ? responses['default'] : undefined);
    if (!response) throw new Error(`${method} ${path} answered ${status}, which OpenAPI does not know.`);
    const type = headers.get('content-type')?.split(';')[0] ?? '';
    const schema = response.content?.[type]?.schema as
      { $ref?: string; items?: { $ref?: string } } | undefined;
    const reference = schema?.$ref ?? schema?.items?.$ref;
    if (!schema || !reference) return;
    const target = { $ref: `openapi${reference}` };
    if (!ajv.validate(schema.$ref ? target : { type: 'array', items: target }, body)) {
      throw new Error(
        `${method} ${path}: the answer is not as ${reference} says: ${ajv.errorsText()}\n${JSON.stringify(body).slice(0, 500)}`,
      );
    }
  };
}

/**
 * A server in this process over its own database, for all the tests of a file. `contexts`: those whose tables are made
 * besides the flight's.
 */
export function useServer(
  env: Record<string, string> = {},
  log?: Log,
  contexts: readonly DeclaredContext[] = [],
) {
  let app: NestFastifyApplication;
  let store: TestDatabase;
  let url: string;
  let check: ReturnType<typeof openApiCheck>;
  beforeAll(async () => {
    store = await testDatabase(log);
    if (contexts.length > 0) await migrate(store.url, { contexts });
    app = await startServer(
      readConfig({
        DATABASE_URL: store.url,
        EVENT_STORE: store.eventStore,
        PORT: '0',
        WAYLOG_ADMIN_KEY: ADMIN_KEY,
        ...env,
      }),
    );
    url = await app.getUrl();
    check = openApiCheck((await client.call('GET', '/openapi.json')).body as OpenApi);
  });
  afterAll(async () => {
    await app.close();
    await store.drop();
  });
  const client = httpClient(() => url);
  return {
    get app() {
      return app;
    },
    get store() {
      return store;
    },
    get url() {
      return url;
    },
    async call(...request: Parameters<HttpClient['call']>): Promise<Answer> {
      const answer = await client.call(...request);
      check(request[0], request[1], answer);
      return answer;
    },
  };
}

/** Creates a key; tries again while a limit is exceeded. */
export async function newKey(server: { call: HttpClient['call'] }, role: string): Promise<string> {
  const { body } = await until(
    () => server.call('POST', '/v1/admin/keys', { name: 'a', role }),
    ({ status }) => status === 201,
  );
  return body.key as string;
}

/** The header that sends a key. */
export const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

/** Polls until the answer is the expected one. */
export async function until(ask: () => Promise<Answer>, isSo: (answer: Answer) => boolean): Promise<Answer> {
  let answer = await ask();
  for (let attempt = 1; !isSo(answer); attempt++) {
    if (attempt === 400)
      throw new Error(`It stays ${answer.status}: ${JSON.stringify(answer.body).slice(0, 1_000)}`);
    await sleep(50);
    answer = await ask();
  }
  return answer;
}
