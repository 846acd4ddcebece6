import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import type { DataValidateFunction } from 'ajv/dist/types/index.js';
import { Type } from 'class-transformer';
import {
  getMetadataStorage,
  isEmail,
  IsOptional,
  ValidateBy,
  ValidateNested,
  type ValidationOptions,
} from 'class-validator';
import { JSONSchema, targetConstructorToSchema } from 'class-validator-jsonschema';
import { invalidInput, MAX_BAD_FIELDS, type FieldError } from './errors.js';
import { parseTimestamp, TIMESTAMP_RULE } from './timestamp.js';
import { UNSEEN } from './visible.js';

/**
 * The rules of an input are written once, as class-validator decorators on its class. They give the JSON schema that
 * OpenAPI shows and, compiled by Ajv, the validator that every command passes, in about a microsecond instead of fifty.
 */
export type Class<T extends object = object> = abstract new (...args: never[]) => T;
export type Schema = { [key: string]: unknown };

const OPAQUE_ID = /^[^\u0000-\u001f\u007f\ud800-\udfff]{1,128}$/u; // eslint-disable-line no-control-regex -- refused
const KNOWN_ID = new RegExp(`^(?!\\.{1,2}$)${OPAQUE_ID.source.slice(1)}`, 'u');
const NAME = new RegExp(`^[^${UNSEEN}\\ud800-\\udfff]{1,128}$`, 'u');
const ID = new RegExp(`^(?!\\.{1,2}$)${NAME.source.slice(1)}`, 'u');
const TEXT = /^[^\u0000\ud800-\udfff]*$/u; // eslint-disable-line no-control-regex -- refused
const MAX_JSON_BYTES = 16 * 1024;
const MAX_JSON_DEPTH = 16;
/**
 * The cost of JSON is not its length but what it contains: 16 KiB of empty lists are 5,300 objects, forty times as
 * much.
 */
const MAX_JSON_VALUES = 500;

const rules = new Map<string, Schema>();

/** A decorator with its own rule: the schema for OpenAPI and Ajv, and the same test for class-validator. */
function rule(name: string, schema: Schema, message: string, test: (value: unknown) => boolean) {
  rules.set(name, { ...schema, 'x-rule': message });
  return (options?: ValidationOptions): PropertyDecorator =>
    ValidateBy(
      { name, validator: { validate: test, defaultMessage: () => `$property ${message}` } },
      options,
    );
}

/** An opaque id: 1 to 128 characters, none of them one of ASCII's control characters. */
export const IsOpaqueId = rule(
  'isOpaqueId',
  { type: 'string', pattern: OPAQUE_ID.source, examples: ['a-1'] },
  'must be 1 to 128 characters, none of them U+0000 to U+001F, U+007F or half of a surrogate pair',
  (value) => typeof value === 'string' && OPAQUE_ID.test(value),
);

/** A new name of something, which people must be able to recognise, on a terminal too. */
export const IsName = rule(
  'isName',
  { type: 'string', pattern: NAME.source, examples: ['a-1'] },
  'must be 1 to 128 characters without control characters, invisible ones, and ones that turn the direction of text',
  (value) => typeof value === 'string' && NAME.test(value),
);

/**
 * The id of something new: a name that can be part of an address, so any but `.` and `..`. URLs resolve those as steps
 * of a path, even percent-encoded, so a client never sends them. Reads and removals accept an opaque id: older logs can
 * hold such ids.
 */
export const IsId = rule(
  'isId',
  { type: 'string', pattern: ID.source, examples: ['a-1'] },
  'must be 1 to 128 characters without control characters, invisible ones, and ones that turn the direction of text, and not . or .., which no URL can address',
  (value) => typeof value === 'string' && ID.test(value),
);

/** The id of something that is changed, which can be older than the rule against invisible characters. */
export const IsKnownId = rule(
  'isKnownId',
  { type: 'string', pattern: KNOWN_ID.source, examples: ['a-1'] },
  'must be 1 to 128 characters, none of them U+0000 to U+001F, U+007F or half of a surrogate pair, and not . or .., which no URL can address',
  (value) => typeof value === 'string' && KNOWN_ID.test(value),
);

/** Text that PostgreSQL can store: no NUL character, no unpaired surrogate. Combine with MaxLength. */
export const IsText = rule(
  'isText',
  { type: 'string', pattern: TEXT.source, examples: ['text'] },
  'must be text without NUL characters or broken Unicode',
  (value) => typeof value === 'string' && TEXT.test(value),
);

export const IsTimestamp = rule(
  'isTimestamp',
  { type: 'string', format: 'date-time', examples: ['2026-05-01T12:00:00Z'] },
  TIMESTAMP_RULE,
  (value) => typeof value === 'string' && parseTimestamp(value) !== undefined,
);

/** An address for e-mail by RFC 5321: at most 254 characters, without comments, quotes or a display name. */
export const IsEmailAddress = rule(
  'isEmailAddress',
  { type: 'string', format: 'email', examples: ['ann@example.com'] },
  'must be an e-mail address such as ann@example.com, of at most 254 characters',
  (value) => typeof value === 'string' && isEmailAddress(value),
);

const isEmailAddress = (text: string): boolean => text.length <= 254 && isEmail(text);

const DURATION = /^[1-9]\d{0,3} ?(s|m|h|d|w|(second|minute|hour|day|week|month|year)s?)$/;

/** A length of time as PostgreSQL reads it: one number and one unit. */
export const IsDuration = rule(
  'isDuration',
  { type: 'string', pattern: DURATION.source, examples: ['90 days'] },
  'must be a length of time such as 90 days, 12 hours or 7d',
  (value) => typeof value === 'string' && DURATION.test(value),
);

/** One JSON value that contains no others. */
export const IsScalar = rule(
  'isScalar',
  { type: ['string', 'number', 'boolean', 'null'], examples: [1] },
  'must be a text, a number, a flag or null',
  (value) => value === null || ['string', 'number', 'boolean'].includes(typeof value),
);

/**
 * Free-form JSON: an object of at most 16 KiB, 500 values (fields and items, at all levels together) and 16 levels. Its
 * numbers and text must come back as they went in.
 */
export const IsJsonObject = rule(
  'isJsonObject',
  { type: 'object', additionalProperties: true, 'x-json': true, examples: [{}] },
  'must be a JSON object of at most 16 KiB, 500 values and 16 levels, without NUL characters, NaN, infinities, Dates or Maps',
  isJsonObject,
);

const additions = new Map<unknown, Map<string | symbol, Schema>>();

/** Adds to the schema of a field. JSONSchema by itself replaces what another decorator of the field set. */
const addToSchema =
  (schema: Schema): PropertyDecorator =>
  (target, property) => {
    const ofClass = additions.get(target.constructor) ?? new Map<string | symbol, Schema>();
    const all = { ...ofClass.get(property), ...schema };
    additions.set(target.constructor, ofClass.set(property, all));
    (JSONSchema(all) as PropertyDecorator)(target, property);
  };

/** Rules between a field and the others of its object, by name. */
const relations = new Map<string, (whole: never) => boolean>();

/**
 * A rule between a field and the others of its object, beyond the rules of each. `test` gets the object, in which
 * anything can be wrong.
 */
export function Relation<T extends object>(
  name: string,
  message: string,
  test: (whole: Partial<T>) => boolean,
): PropertyDecorator {
  relations.set(name, test);
  return addToSchema({ 'x-relation': name, 'x-relation-rule': message });
}

/** Describes a field whose type and bounds do not explain it: OpenAPI shows the text. */
export const Meaning = (description: string) => addToSchema({ description });

/** An example value of a field, for the page of the API. */
export const Sample = (value: unknown) => addToSchema({ examples: [value] });

const examples = new Map<object, object>();

/** A realistic example: OpenAPI shows it, and its page fills it in. Subclasses inherit it. */
export const Example =
  <T extends object>(example: T) =>
  (target: Class<T>): void => {
    examples.set(target, example);
  };

/** The example of a class, or of the class that it extends. */
export function exampleOf(target: Class): object | undefined {
  for (let type: object | null = target; type !== null; type = Object.getPrototypeOf(type) as object | null) {
    const example = examples.get(type);
    if (example) return example;
  }
  return undefined;
}

/** Can be left out or null; both mean the same. */
export const Optional = IsOptional;

const nestedTypes = new Map<unknown, Map<string, () => Class>>();

/** An object, or with `each` an array of objects, that follows the rules of another class. */
export function Nested(type: () => Class, options: { each?: boolean } = {}): PropertyDecorator {
  return (target, property) => {
    ValidateNested(options)(target, property);
    Type(type)(target, property);
    const types = nestedTypes.get(target.constructor) ?? new Map<string, () => Class>();
    nestedTypes.set(target.constructor, types.set(property as string, type));
  };
}

/** The fields with rules that a class declares itself. */
export const fieldsDeclaredBy = (target: Class): string[] => [
  ...new Set(
    getMetadataStorage()
      .getTargetValidationMetadatas(target, '', false, false)
      .filter((rule) => rule.target === target)
      .map(({ propertyName }) => propertyName),
  ),
];

/** The JSON schema of a class. `refer` can return a reference for a nested class instead of its inline schema. */
export function schemaOf(target: Class, refer?: (nested: Class) => Schema): Schema {
  const converters: Record<string, Schema | ((meta: Nested) => Schema)> = Object.fromEntries(rules);
  converters['nestedValidation'] = (meta) => {
    const nested = nestedTypes.get(meta.target)?.get(meta.propertyName)?.();
    if (!nested)
      throw new Error(`${target.name}.${meta.propertyName} needs @Nested instead of @ValidateNested.`);
    return refer ? refer(nested) : schemaOf(nested);
  };
  // Bounds do not determine the type: the order of decorators must not turn an integer into a number.
  converters['min'] = ({ constraints }) => ({ minimum: constraints?.[0] });
  converters['max'] = ({ constraints }) => ({ maximum: constraints?.[0] });
  const schema = targetConstructorToSchema(target, { additionalConverters: converters as never }) as Schema;
  const required = (schema['required'] ?? []) as string[];
  const properties = Object.entries((schema['properties'] ?? {}) as Record<string, Schema>).map(
    ([name, property]): [string, Schema] => [name, required.includes(name) ? property : nullable(property)],
  );
  const example = exampleOf(target);
  return {
    ...schema,
    properties: Object.fromEntries(properties),
    additionalProperties: false,
    ...(example && { examples: [example] }),
  };
}

interface Nested {
  readonly target: Class;
  readonly propertyName: string;
  readonly constraints?: readonly unknown[];
}

const nullable = (schema: Schema): Schema =>
  typeof schema['type'] === 'string' && schema['type'] !== 'object' && schema['type'] !== 'array'
    ? { ...schema, type: [schema['type'], 'null'] }
    : { anyOf: [schema, { type: 'null' }] };

function makeAjv(options: { coerceTypes: boolean }): Ajv {
  const made = new Ajv({ ...options, allErrors: true, strict: false, strictNumbers: true, verbose: true });
  made.addFormat('email', isEmailAddress);
  made.addFormat('date-time', (text: string) => parseTimestamp(text) !== undefined);
  made.addKeyword({
    keyword: 'x-json',
    type: 'object',
    validate: (_: unknown, value: unknown) => isJsonObject(value),
  });
  made.addKeyword({
    keyword: 'x-relation',
    schemaType: 'string',
    // A value that is checked alone has no relations.
    validate: (name: string, _value: unknown, _schema: unknown, context?: { parentData: unknown }) =>
      typeof context?.parentData !== 'object' ||
      (relations.get(name)?.(context.parentData as never) ?? false),
  });
  return made;
}

const ajv = makeAjv({ coerceTypes: false });
const coercingAjv = makeAjv({ coerceTypes: true });

/**
 * `items` and `additionalProperties: false` as our own keywords. Ajv itself visits every item of a list that is too
 * long, and reports every unknown field and every fault of every item. A body of some megabytes then holds the process
 * for seconds, and the answer is longer than the request. These keywords check the length first and stop once they have
 * enough to report.
 */
ajv.addKeyword({
  keyword: 'x-items',
  type: 'array',
  errors: 'full',
  compile: (itemSchema: Schema, list) => {
    const checkItem = ajv.compile(itemSchema);
    const maxItems = (list as Schema)['maxItems'] as number | undefined;
    const check: Check = (items: unknown[], context) => {
      const errors: ErrorObject[] = (check.errors = []);
      // `maxItems` reports the length; the content no longer matters.
      if (maxItems !== undefined && items.length > maxItems) return true;
      const bad = new Set<string>();
      for (let i = 0; i < items.length && bad.size <= MAX_BAD_FIELDS; i++) {
        if (checkItem(items[i])) continue;
        const at = `${context?.instancePath ?? ''}/${i}`;
        for (const error of (checkItem.errors ?? []).filter(isOfField)) {
          const inList = { ...error, instancePath: at + error.instancePath };
          errors.push(inList);
          bad.add(fieldOf(inList));
        }
      }
      return bad.size === 0;
    };
    return check;
  },
});
ajv.addKeyword({
  keyword: 'x-only',
  type: 'object',
  errors: 'full',
  compile: (names: readonly string[]) => {
    const known = new Set(names);
    const check: Check = (value: object, context) => {
      const errors: ErrorObject[] = (check.errors = []);
      for (const name in value) {
        if (known.has(name)) continue;
        errors.push({
          keyword: 'additionalProperties',
          instancePath: context?.instancePath ?? '',
          schemaPath: '',
          params: { additionalProperty: name },
        });
        if (errors.length > MAX_BAD_FIELDS) break;
      }
      return errors.length === 0;
    };
    return check;
  },
});

interface Check extends DataValidateFunction {
  errors?: ErrorObject[];
}

/** A schema whose lists and unknown fields are checked by the keywords above. */
function withBounds(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withBounds);
  if (typeof schema !== 'object' || schema === null) return schema;
  const { items, additionalProperties, properties, ...rest } = Object.fromEntries(
    Object.entries(schema).map(([key, part]): [string, unknown] => [
      key,
      key === 'properties'
        ? Object.fromEntries(Object.entries(part as object).map(([name, p]) => [name, withBounds(p)]))
        : withBounds(part),
    ]),
  );
  return {
    ...rest,
    ...(properties !== undefined && { properties }),
    ...(items !== undefined && { 'x-items': items }),
    ...(additionalProperties === false
      ? { 'x-only': Object.keys((properties as object | undefined) ?? {}) }
      : additionalProperties !== undefined && { additionalProperties }),
  };
}

/** Compiles a schema into a check that returns the bad fields. It looks for no more than `MAX_BAD_FIELDS`. */
export function compileSchema(schema: Schema): (value: unknown) => FieldError[] {
  const validate: ValidateFunction = ajv.compile(withBounds(schema) as Schema);
  return (value) => (validate(value) ? [] : fieldErrors(validate.errors ?? []));
}

const compiled = new Map<Class, (value: unknown) => FieldError[]>();

/** The faults of a value by the rules of a class. At most `MAX_BAD_FIELDS` of each list and object are looked for. */
export function badFields(target: Class, value: unknown): FieldError[] {
  let check = compiled.get(target);
  if (!check) compiled.set(target, (check = compileSchema(schemaOf(target))));
  return check(value);
}

/** Checks a value against the rules of a class. Throws `input.invalid` with its bad fields. */
export function validate(target: Class, value: unknown): void {
  const errors = badFields(target, value);
  if (errors.length > 0) throw invalidInput(errors);
}

interface Coercion {
  readonly check: ValidateFunction;
  /** The fields that are whole numbers, with their schemas. */
  readonly integers: ReadonlyMap<string, Schema>;
}

const coercions = new Map<Class, Coercion>();

function coercionOf(target: Class): Coercion {
  let coercion = coercions.get(target);
  if (!coercion) {
    const schema = schemaOf(target);
    const properties = Object.entries(schema['properties'] as Record<string, Schema>);
    const integers = new Map(properties.filter(([, property]) => isInteger(property)));
    coercions.set(target, (coercion = { check: coercingAjv.compile(schema), integers }));
  }
  return coercion;
}

/** A copy of text fields, such as those of a query string, with numbers and flags parsed. Throws `input.invalid`. */
export function coerceFields<T extends object>(target: Class<T>, fields: object): T {
  const { check, integers } = coercionOf(target);
  // Ajv would read these as null, or as a number that was not meant: an empty text, `1e3`, `0x10`, ` 1`.
  const odd = Object.entries(fields).flatMap(([field, value]: [string, unknown]): FieldError[] => {
    if (value === '') return [{ field, message: 'is empty; leave it out instead' }];
    const integer = integers.get(field);
    const isOdd = integer && typeof value === 'string' && !/^\d{1,15}$/.test(value);
    return isOdd ? [{ field, message: wholeNumberRule(integer) }] : [];
  });
  if (odd.length > 0) throw invalidInput(odd);
  const copy = { ...fields };
  if (!check(copy)) throw invalidInput(fieldErrors(check.errors ?? []));
  return copy as T;
}

function fieldErrors(errors: readonly ErrorObject[]): FieldError[] {
  const found = new Map<string, FieldError>();
  for (const error of errors.filter(isOfField)) {
    const field = fieldOf(error);
    if (!found.has(field)) found.set(field, { field, message: messageOf(error) });
  }
  return [...found.values()];
}

/** The branches of "or null" report themselves; the branch that matters has its own error. */
const isOfField = ({ keyword, params }: ErrorObject): boolean =>
  keyword !== 'anyOf' && !(keyword === 'type' && params['type'] === 'null');

function fieldOf({ instancePath, keyword, params }: ErrorObject): string {
  let path = '';
  for (const step of instancePath.split('/').slice(1)) {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~');
    path += /^\d+$/.test(name) ? `[${name}]` : (path && '.') + name;
  }
  const child: unknown =
    keyword === 'required'
      ? params['missingProperty']
      : keyword === 'additionalProperties'
        ? params['additionalProperty']
        : undefined;
  return typeof child === 'string' ? (path && `${path}.`) + child : path;
}

const isInteger = ({ type }: Schema): boolean => [type].flat().includes('integer');

function wholeNumberRule({
  minimum,
  maximum,
}: {
  readonly minimum?: number;
  readonly maximum?: number;
}): string {
  const from = minimum === undefined ? '' : ` from ${minimum}`;
  const to = maximum === undefined ? '' : ` to ${maximum}`;
  return `must be a whole number${from}${to}`;
}

function messageOf({ keyword, params, parentSchema, message = 'is wrong' }: ErrorObject): string {
  const schema = (parentSchema ?? {}) as Schema;
  if (keyword === 'type' && isInteger(schema)) return wholeNumberRule(schema);
  switch (keyword) {
    case 'required':
      return 'is missing';
    case 'additionalProperties':
      return 'is not a field of this input';
    case 'minimum':
      return `must be at least ${String(params['limit'])}`;
    case 'maximum':
      return `must be at most ${String(params['limit'])}`;
    case 'minLength':
      return 'must not be empty';
    case 'maxLength':
      return `must have at most ${String(params['limit'])} characters`;
    case 'maxItems':
      return `must have at most ${String(params['limit'])} items`;
    case 'minItems':
      return `must have at least ${String(params['limit'])} items`;
    case 'x-relation':
      return schema['x-relation-rule'] as string;
    default:
      return (schema['x-rule'] as string | undefined) ?? message;
  }
}

function isJsonObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return isJson(value, 1, { values: 0 }) && Buffer.byteLength(JSON.stringify(value)) <= MAX_JSON_BYTES;
}

/** A Date, a Map and similar objects come back from JSON as something else. */
const isPlain = (value: object): boolean =>
  Object.prototype.toString.call(value) === '[object Object]' &&
  !('toJSON' in value && typeof value.toJSON === 'function');

function isJson(value: unknown, depth: number, counted: { values: number }): boolean {
  switch (typeof value) {
    case 'string':
      return TEXT.test(value);
    case 'number':
      return Number.isFinite(value);
    case 'boolean':
      return true;
    case 'object':
      if (value === null) return true;
      return depth <= MAX_JSON_DEPTH && areJson(value, depth + 1, counted);
    default:
      return false;
  }
}

/** Whether the contents of an object or a list are JSON. Their number is checked first. */
function areJson(whole: object, depth: number, counted: { values: number }): boolean {
  const isList = Array.isArray(whole);
  if (!isList && !isPlain(whole)) return false;
  const names = isList ? [] : Object.keys(whole);
  counted.values += isList ? whole.length : names.length;
  if (counted.values > MAX_JSON_VALUES) return false;
  if (isList) return whole.every((item) => isJson(item, depth, counted));
  const fields = whole as Readonly<Record<string, unknown>>;
  return names.every((name) => TEXT.test(name) && isJson(fields[name], depth, counted));
}
