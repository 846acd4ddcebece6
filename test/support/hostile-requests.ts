import fc from 'fast-check';

/** A request as sent; the body is text or bytes, whatever the content type says. */
export interface RawRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly minItems?: number;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

export interface Operation {
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: 'path' | 'query' | 'header';
    readonly schema: Schema;
  }[];
  readonly requestBody?: { readonly content: { readonly 'application/json'?: { readonly schema: Schema } } };
}

export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

/** Ids of the fixture, so that requests get further than the first check. */
const KNOWN_IDS = ['fixture', 'other', 'w0', 'w1', 'home', 'c0', 'c1', '0', '1', '2'];
/** The same for the parts of a path that are not ids. */
const KNOWN_STEPS: Readonly<Record<string, readonly string[]>> = {
  '{id}': ['fixture', 'other'],
  '{frameId}': ['0', '1', '2'],
};
const NAMES = [
  'CreateFlight',
  'UpdateFlight',
  'AddWaypoint',
  'SaveFrameResult',
  'Transact',
  'GetFlight',
  'GetEvents',
  'FlightCreated',
  'select 1',
  "select '\\",
  'frame_results',
  'flight',
  'basic',
];
const HOSTILE_TEXTS = [
  '',
  ' ',
  '\u0000',
  'a\u0000b',
  '\ud800',
  'x\udfff',
  '\u202e\u200b',
  'line\nbreak',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  'valueOf',
  'NaN',
  'Infinity',
  'null',
  'undefined',
  '-1',
  '-0',
  '1e309',
  '0x10',
  '9223372036854775807',
  '9223372036854775808',
  '99999999999999999999999999999999',
  '2147483648',
  '4294967295',
  "'; drop table log.events; --",
  '$1',
  '%',
  '%00',
  '{}',
  '[]',
  '../../../etc/passwd',
  '*',
  '\\',
  '"',
  '2026-02-30T00:00:00Z',
  '1969-12-31T23:59:59Z',
  '9999-12-31T23:59:59Z',
  '2026-05-01T12:00:00',
  'a'.repeat(129),
  'b'.repeat(10_001),
  'c'.repeat(300_000),
  '\u{1f681}'.repeat(128),
];
// Few days: each costs the hypertables a chunk.
const TIMES = [
  '2026-05-01T12:00:00.000Z',
  '2026-05-01T12:00:00.000001Z',
  '2026-05-01T14:00:01+02:00',
  '1970-01-01T00:00:00Z',
  '2199-12-31T23:59:59.999999Z',
];

const text = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...KNOWN_IDS) },
  { weight: 2, arbitrary: fc.constantFrom(...NAMES) },
  { weight: 2, arbitrary: fc.constantFrom(...TIMES) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 12 }) },
);
const hostileText = fc.oneof(
  fc.constantFrom(...HOSTILE_TEXTS),
  fc.string({ unit: 'binary', maxLength: 40 }),
  // Half a surrogate pair now and then.
  fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 6 })
    .map((units) => String.fromCharCode(...units)),
);
const hostileNumber = fc.constantFrom(
  -1,
  -0,
  0.1,
  1e-320,
  90.000001,
  360.5,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 53,
  1e21,
  Number.MAX_VALUE,
  -Number.MAX_VALUE,
);
const nested = (depth: number): unknown => {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value };
  return value;
};
/** An object with one own field, whatever its name; JSON.stringify writes it. */
const own = (name: string, value: unknown): object => Object.fromEntries([[name, value]]);

export const hostileValue: fc.Arbitrary<unknown> = fc.oneof(
  hostileText,
  hostileNumber,
  fc.constantFrom<unknown>(null, true, false, [], {}, [null], [[]], [1, 'a', {}]),
  fc.constantFrom(15, 16, 17, 500).map(nested),
  fc
    .tuple(
      fc.constantFrom('__proto__', 'constructor', 'prototype', 'toString', 'toJSON', '$map', '\u0000'),
      text,
    )
    .map(([name, value]) => own(name, { polluted: value })),
  fc.jsonValue(),
);

/** Mostly values that match a schema; one in `oddity` values does not, none if that is 0. */
function valueOf(
  schema: Schema,
  document: OpenApiDocument,
  oddity: number,
  depth = 0,
): fc.Arbitrary<unknown> {
  const valid = validOf(schema, document, oddity, depth);
  if (oddity === 0) return valid;
  return fc.oneof({ weight: oddity - 1, arbitrary: valid }, { weight: 1, arbitrary: hostileValue });
}

function validOf(
  schema: Schema,
  document: OpenApiDocument,
  oddity: number,
  depth: number,
): fc.Arbitrary<unknown> {
  if (schema.$ref) {
    const named = document.components.schemas[schema.$ref.split('/').at(-1) as string];
    if (!named) throw new Error(`The OpenAPI document has no ${schema.$ref}.`);
    return valueOf(named, document, oddity, depth);
  }
  if (schema.anyOf)
    return fc.oneof(...schema.anyOf.map((branch) => valueOf(branch, document, oddity, depth)));
  if (schema.enum) return fc.constantFrom(...schema.enum);
  switch ([schema.type].flat()[0]) {
    case 'object':
      return objectOf(schema, document, oddity, depth);
    case 'array': {
      const items = schema.items ? valueOf(schema.items, document, oddity, depth + 1) : hostileValue;
      return fc.array(items, { maxLength: 4, minLength: schema.minItems ?? 0 });
    }
    case 'integer':
      return fc.oneof(
        fc.integer({ min: 0, max: 3 }),
        fc.integer({ min: schema.minimum ?? 0, max: schema.maximum ?? 2 ** 31 - 1 }),
      );
    case 'number':
      return fc.double({
        min: schema.minimum ?? -1e6,
        max: Math.min(schema.maximum ?? 1e6, 1e6),
        noNaN: true,
      });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    default:
      return schema.format === 'date-time' ? fc.constantFrom(...TIMES) : text;
  }
}

function objectOf(
  { properties, required = [] }: Schema,
  document: OpenApiDocument,
  oddity: number,
  depth: number,
): fc.Arbitrary<unknown> {
  if (!properties || depth > 6) {
    const keys = fc.oneof(text, hostileText);
    return fc
      .array(fc.tuple(keys, hostileValue), { maxLength: 4 })
      .map((e) => Object.fromEntries(e) as object);
  }
  const fields = Object.entries(properties).map(([name, property]) => {
    const value = valueOf(property, document, oddity, depth + 1).map((v): [string, unknown] => [name, v]);
    if (oddity === 0 && required.includes(name)) return value;
    const there = required.includes(name) ? 19 : 4;
    const leftOut = oddity === 0 ? 8 : 1;
    return fc.oneof(
      { weight: there, arbitrary: value },
      { weight: leftOut, arbitrary: fc.constant(undefined) },
    );
  });
  const extra = fc.oneof(
    { weight: oddity === 0 ? 1_000 : 15, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.tuple(fc.oneof(text, hostileText), hostileValue) },
  );
  return fc
    .tuple(...fields, extra)
    .map((entries) => Object.fromEntries(entries.filter((entry) => entry !== undefined)) as object);
}

/** A part of a path: an id, a hostile one, or invalid percent-encoding. */
const pathStep = (name: string, isKnownAllowed: boolean) =>
  fc.oneof(
    {
      weight: 12,
      arbitrary: fc
        .constantFrom(...(isKnownAllowed ? (KNOWN_STEPS[name] ?? KNOWN_IDS) : ['nobody', 'x']))
        .map(encodeURIComponent),
    },
    {
      weight: 2,
      arbitrary: hostileText.map(percentEncoded).filter((step) => step !== '' && step.length < 8_000),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '%',
        '%zz',
        '%ff',
        '%c0%80',
        '%ed%a0%80',
        '%2e%2e',
        '%2F',
        '%00',
        '%u0041',
        '..;',
      ),
    },
  );

/** Like encodeURIComponent, but halves of surrogate pairs become bytes that are not UTF-8. */
function percentEncoded(step: string): string {
  return [...step]
    .map((c) => (/[\ud800-\udfff]/u.test(c) ? '%ed%a0%80' : encodeURIComponent(c).replace('.', '%2e')))
    .join('');
}

const queryValue = (schema: Schema, document: OpenApiDocument) =>
  fc
    .oneof({ weight: 2, arbitrary: validOf(schema, document, 0, 0) }, { weight: 1, arbitrary: hostileText })
    .map((value) =>
      percentEncoded(typeof value === 'string' ? value.slice(0, 2_000) : JSON.stringify(value)),
    );

function queryOf({ parameters = [] }: Operation, document: OpenApiDocument): fc.Arbitrary<string> {
  const named = parameters
    .filter((parameter) => parameter.in === 'query')
    .map(({ name, schema }) =>
      fc
        .array(queryValue(schema, document), { maxLength: 2 })
        .map((values) => values.map((v) => `${name}=${v}`)),
    );
  const odd = fc.oneof(
    { weight: 12, arbitrary: fc.constant<string[]>([]) },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom('__proto__=1', 'a[b]=1', '%=%', '&&&', 'constructor', '=', 'limit[]=1', 'asOf=%ff')
        .map((one) => [one]),
    },
  );
  return fc.tuple(...named, odd).map((parts) => {
    const all = parts.flat();
    return all.length > 0 ? `?${all.join('&')}` : '';
  });
}

interface Body {
  readonly contentType?: string;
  readonly body?: string | Buffer;
}

/** Truncated JSON, JSON with an extra byte, or with a number that JSON lacks; and bodies that are not JSON. */
const brokenBody: fc.Arbitrary<Body> = fc.oneof(
  fc
    .constantFrom(
      '',
      '{',
      '[',
      'null',
      'NaN',
      '{"a":NaN}',
      '{"altitude":1e999}',
      '{"a":1,"a":2}',
      '{"__proto__":{"isAdmin":true}}',
      '{"constructor":{"prototype":{"isAdmin":true}}}',
      '\ufeff{}',
      '"text"',
      '0',
      '[[[[',
      '{"name":"\\ud800"}',
      '{"name":"\\u0000"}',
      `${'['.repeat(50_000)}${']'.repeat(50_000)}`,
      `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`,
    )
    .map((body) => ({ contentType: 'application/json', body })),
  fc
    .uint8Array({ maxLength: 60 })
    .map((bytes) => ({ contentType: 'application/json', body: Buffer.from(bytes) })),
  fc
    .constantFrom(
      'text/plain',
      'application/xml',
      'application/x-www-form-urlencoded',
      'multipart/form-data',
      'application/json; charset=utf-16',
      'application/octet-stream',
      'nonsense',
      '',
    )
    .map((contentType) => ({ contentType, body: '{"name":"x"}' })),
  fc.constant({}),
);

function bodyOf(
  operation: Operation,
  document: OpenApiDocument,
  isValidAllowed: boolean,
): fc.Arbitrary<Body> {
  const schema = operation.requestBody?.content['application/json']?.schema;
  if (!schema)
    return fc.oneof({ weight: 6, arbitrary: fc.constant({}) }, { weight: 1, arbitrary: brokenBody });
  const contentType = 'application/json';
  if (!isValidAllowed) {
    const wrong = hostileValue.map((value) => ({
      contentType,
      body: JSON.stringify({ ...own('__x', value) }),
    }));
    return fc.oneof(brokenBody, wrong);
  }
  const said = (value: unknown): Body => ({ contentType, body: JSON.stringify(value) });
  return fc.oneof(
    { weight: 6, arbitrary: valueOf(schema, document, 0).map(said) },
    { weight: 6, arbitrary: valueOf(schema, document, 20).map(said) },
    {
      weight: 1,
      arbitrary: fc.tuple(valueOf(schema, document, 0), fc.nat()).map(([value, at]) => {
        const whole = JSON.stringify(value);
        return { contentType, body: whole.slice(0, at % whole.length) };
      }),
    },
    { weight: 2, arbitrary: brokenBody },
  );
}

const printable = (value: string) => value.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 400);

export interface Limits {
  /** The path can have names of existing things. */
  readonly knownPath: boolean;
  /** The body can match the route. */
  readonly validBody: boolean;
  /** Query parameters can match the route. */
  readonly query: boolean;
}

/** Requests to one route. */
export function requestsTo(
  method: string,
  path: string,
  document: OpenApiDocument,
  limits: Limits,
): fc.Arbitrary<RawRequest> {
  const operation = document.paths[path]?.[method.toLowerCase()];
  if (!operation) throw new Error(`The OpenAPI document has no ${method} ${path}.`);
  const steps = path
    .split(/(\{\w+\})/)
    .map((part) => (part.startsWith('{') ? pathStep(part, limits.knownPath) : fc.constant(part)));
  const headers = (operation.parameters ?? [])
    .filter((parameter) => parameter.in === 'header')
    .map(({ name }) =>
      fc.oneof(
        { weight: 8, arbitrary: fc.constant<[string, string] | undefined>(undefined) },
        {
          weight: 1,
          // A read would wait for the events of a position far beyond the log.
          arbitrary: fc
            .oneof(fc.constantFrom('0', '1', '-1', '1e3', '9'.repeat(40)), hostileText.map(printable))
            .map((value): [string, string] => [name.toLowerCase(), value]),
        },
      ),
    );
  return fc
    .tuple(
      fc.tuple(...steps),
      limits.query ? queryOf(operation, document) : fc.constant(''),
      fc.tuple(...headers),
      bodyOf(operation, document, limits.validBody),
    )
    .map(([parts, query, named, { contentType, body }]) => ({
      method,
      path: parts.join('') + query,
      headers: {
        ...Object.fromEntries(named.filter((header) => header !== undefined)),
        ...(contentType !== undefined && contentType !== '' && { 'content-type': contentType }),
      },
      ...(body !== undefined && { body }),
    }));
}
