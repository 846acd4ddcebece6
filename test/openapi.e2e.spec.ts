import { useServer } from './support/server.js';

interface Operation {
  readonly operationId: string;
  readonly summary?: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: Sampled }[];
  readonly requestBody?: { readonly content: { readonly 'application/json'?: { readonly schema: Schema } } };
}
interface Sampled {
  readonly example?: string | number;
}
interface Schema {
  readonly $ref?: string;
  readonly items?: Schema;
  readonly examples?: readonly [object];
}

describe('the page of the API', () => {
  const server = useServer({ WAYLOG_VERIFY_SHARE: '0', WAYLOG_RATE_LIMIT: '1000' });
  let schemas: Readonly<Record<string, Schema>>;
  let operations: readonly (readonly [name: string, operation: Operation])[];

  beforeAll(async () => {
    const { body } = await server.call('GET', '/openapi.json');
    schemas = body.components.schemas as typeof schemas;
    operations = Object.entries(body.paths as Record<string, Record<string, Operation>>).flatMap(
      ([path, methods]) =>
        Object.entries(methods).map(
          ([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const,
        ),
    );
  });

  const resolved = (schema: Schema): Schema => schemas[schema.$ref?.split('/').at(-1) ?? ''] ?? schema;

  /** The values that the page fills in. */
  const exampleOf = (schema: Schema): unknown => {
    const { items, examples } = resolved(schema);
    return items ? [exampleOf(items)] : examples?.[0];
  };
  const sent = async (name: string) => {
    const operation = operations.find(([other]) => other === name)?.[1];
    const [method = '', path = ''] = name.split(' ');
    const filled = path.replaceAll(/\{(\w+)\}/g, (_, parameter: string) => {
      const { schema } = operation?.parameters?.find((other) => other.name === parameter) ?? {};
      return String(schema?.example ?? '-');
    });
    const schema = operation?.requestBody?.content['application/json']?.schema;
    return server.call(method, filled, schema && exampleOf(schema));
  };

  it('describes each operation', () => {
    expect(operations.length).toBeGreaterThan(80);
    expect(operations.filter(([, { summary }]) => !summary).map(([name]) => name)).toEqual([]);
  });

  it('names each operation for programs', () => {
    const ids = operations.map(([, { operationId }]) => operationId);
    expect(ids).toContain('waypoints.updateWaypoints');
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.filter((id) => !/^[a-z][A-Za-z]*\.[a-z][A-Za-z]*$/.test(id))).toEqual([]);
  });

  it('fills in requests that can be executed', async () => {
    expect(await sent('POST /v1/flights')).toMatchObject({ status: 201, body: { flightId: 'fjord-1' } });
    const first = [
      'PUT /v1/flights/{id}/images/{frameId}',
      'PUT /v1/flights/{id}/chunks/{chunkId}',
      'PUT /v1/flights/{id}/waypoints/{waypointId}',
      'PUT /v1/flights/{id}/geofences/{geofenceId}',
    ];
    const others = operations
      .map(([name]) => name)
      .filter((name) => /^(POST|PUT|PATCH) \/v1\/(flights\/\{id\}|commands|queries|transactions$)/.test(name))
      // Exceptions: what exists already, what needs another chunk, what ends the flight, and files.
      .filter((name) => !/(waypoints|geofences|merge|erase|content)$/.test(name) || name.startsWith('PATCH'));
    expect(others.length).toBeGreaterThan(12);
    for (const name of [...first, ...others]) {
      const { status, body } = await sent(name);
      expect([name, status < 300, status < 300 || body]).toEqual([name, true, true]);
    }
  });

  it('fills in nothing that is refused for its form', async () => {
    const withBodies = operations.filter(([, { requestBody }]) => requestBody).map(([name]) => name);
    expect(withBodies.length).toBeGreaterThan(25);
    for (const name of withBodies) {
      const { body } = await sent(name);
      expect([name, body.code, body.errors]).not.toEqual([name, 'input.invalid', expect.anything()]);
    }
  });
});
