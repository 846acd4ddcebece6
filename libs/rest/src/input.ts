import {
  Body,
  createParamDecorator,
  Param,
  Query,
  type ExecutionContext,
  type PipeTransform,
} from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import {
  badFields,
  coerceFields,
  compileSchema,
  IsOpaqueId,
  invalidInput,
  schemaOf,
  validate,
  type Class,
  type FieldError,
  type Schema,
} from '#lib/platform';
import type { CommandOptions, ReadOptions } from '#lib/waylog';
import { inDocument } from './document.js';
import { referenceTo } from './shapes.js';

class Check implements PipeTransform {
  readonly #check: (value: unknown) => FieldError[];

  constructor(schema: Schema) {
    this.#check = compileSchema(schema);
  }

  transform(value: unknown): unknown {
    const errors = this.#check(value);
    if (errors.length > 0) throw invalidInput(errors);
    return value;
  }
}

type MethodTarget = Parameters<ParameterDecorator>;

/** Applies a method decorator from a parameter, so that a parameter also adds itself to the OpenAPI document. */
function onMethod(
  decorator: Parameters<typeof inDocument>[0],
  target: MethodTarget[0],
  key: MethodTarget[1],
): void {
  if (key === undefined) return;
  const descriptor = Object.getOwnPropertyDescriptor(target, key);
  if (descriptor) inDocument(decorator)(target, key, descriptor);
}

/** The body, checked by the rules of a class; unknown fields are refused. */
export const ValidBody =
  (type: Class): ParameterDecorator =>
  (target, key, index) => {
    Body({
      transform: (value: unknown) => {
        validate(type, value);
        return value;
      },
    })(target, key, index);
    const schema = referenceTo(type);
    onMethod(({ ApiBody }) => ApiBody({ schema }), target, key);
  };

/** A body that is a list of 1 to `maxItems` objects, checked by the rules of a class. */
export const ValidBodies =
  (type: Class, maxItems: number): ParameterDecorator =>
  (target, key, index) => {
    const list = (items: Schema) => ({ type: 'array', minItems: 1, maxItems, items });
    Body(new Check(list(schemaOf(type))))(target, key, index);
    const schema = list(referenceTo(type));
    onMethod(({ ApiBody }) => ApiBody({ schema }), target, key);
  };

/** The query string, checked by the rules of a class; numbers are parsed, unknown parameters are refused. */
export const ValidQuery =
  (type: Class): ParameterDecorator =>
  (target, key, index) => {
    Query({ transform: (value: object) => coerceFields(type, value) })(target, key, index);
    const properties = schemaOf(type)['properties'] as Record<string, Schema>;
    for (const [name, schema] of Object.entries(properties)) {
      onMethod(({ ApiQuery }) => ApiQuery({ name, required: false, schema }), target, key);
    }
  };

class PathId {
  @IsOpaqueId() readonly id!: string;
}

/** An id in the path. `sample`: one for the page of the API to fill in. */
export const Id =
  (name = 'id', sample?: string): ParameterDecorator =>
  (target, key, index) => {
    const check = (id: string) => {
      const [error] = badFields(PathId, { id });
      if (error) throw invalidInput([{ ...error, field: name }]);
      return id;
    };
    Param(name, { transform: check })(target, key, index);
    const schema = { type: 'string', maxLength: 128, ...(sample && { example: sample }) };
    onMethod(({ ApiParam }) => ApiParam({ name, schema }), target, key);
  };

/** A whole number from 0 in the path, of 32 bits. */
export const Count =
  (name: string): ParameterDecorator =>
  (target, key, index) => {
    const check = (digits: string) => {
      if (!/^\d{1,10}$/.test(digits) || Number(digits) > 2_147_483_647) {
        throw invalidInput([{ field: name, message: 'must be a whole number from 0 to 2147483647' }]);
      }
      return Number(digits);
    };
    Param(name, { transform: check })(target, key, index);
    const schema = { type: 'integer', minimum: 0, example: 0 };
    onMethod(({ ApiParam }) => ApiParam({ name, schema }), target, key);
  };

const header = (request: FastifyRequest, name: string): string | undefined => {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
};

/** The text of a header. Node reads its bytes one by one, and what is sent there is UTF-8, as everywhere else. */
function textOf(name: string, value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(value, 'latin1'));
  } catch {
    throw invalidInput([{ field: name, message: 'must be UTF-8, or ASCII' }]);
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls, as events name it; set before any route is reached, but on those that are open to everybody. */
    actor: string | undefined;
    /** Where the request comes from, as events record it; undefined where they do not. */
    origin: CommandOptions['origin'];
    /** The span of the request; undefined if nobody keeps it. */
    traceparent: CommandOptions['traceparent'];
  }
}

function actorOf({ actor }: FastifyRequest): string {
  if (actor !== undefined) return actor;
  throw new Error('A request has reached a command without passing the guard.');
}

/** The sender of a request, as events name it. */
export const Actor = createParamDecorator((_: unknown, context: ExecutionContext): string =>
  actorOf(context.switchToHttp().getRequest<FastifyRequest>()),
);

/** Where a request comes from. */
export type Source = Pick<CommandOptions, 'origin' | 'traceparent'>;

const sourceOf = ({ origin, traceparent }: FastifyRequest): Source => ({ origin, traceparent });

/** Where a request comes from, as events record it. */
export const From = createParamDecorator((_: unknown, context: ExecutionContext): Source =>
  sourceOf(context.switchToHttp().getRequest<FastifyRequest>()),
);

const senderOf = createParamDecorator((_: unknown, context: ExecutionContext): CommandOptions => {
  const request = context.switchToHttp().getRequest<FastifyRequest>();
  const commandId = textOf('Idempotency-Key', header(request, 'idempotency-key'));
  const [error] = commandId === undefined ? [] : badFields(PathId, { id: commandId });
  if (error) throw invalidInput([{ ...error, field: 'Idempotency-Key' }]);
  return { commandId, actor: actorOf(request), ...sourceOf(request) };
});

/**
 * The sender of a command: the caller that the guard identified, whatever the request says. The command id is from
 * Idempotency-Key.
 */
export const Sender = (): ParameterDecorator => (target, key, index) => {
  senderOf()(target, key, index);
  onMethod(
    ({ ApiHeader }) =>
      ApiHeader({
        name: 'Idempotency-Key',
        required: false,
        description: 'Makes a repeat of the command harmless: the same answer again, nothing recorded.',
      }),
    target,
    key,
  );
};

const freshnessOf = createParamDecorator((_: unknown, context: ExecutionContext): ReadOptions => {
  const request = context.switchToHttp().getRequest<FastifyRequest>();
  return { minPosition: header(request, 'waylog-min-position') };
});

/** The minimum position of a read, from Waylog-Min-Position. */
export const Freshness = (): ParameterDecorator => (target, key, index) => {
  freshnessOf()(target, key, index);
  onMethod(
    ({ ApiHeader }) =>
      ApiHeader({
        name: 'Waylog-Min-Position',
        required: false,
        description: 'Wait until the tables have the log up to this position, as a command answered it.',
      }),
    target,
    key,
  );
};

/** An id in the body must be that of the path. */
export function refuseOtherId(field: string, inBody: unknown, inPath: string | number): void {
  if (inBody !== undefined && inBody !== null && inBody !== inPath) {
    throw invalidInput([
      { field, message: `is ${JSON.stringify(inBody)}, but the path says ${JSON.stringify(inPath)}` },
    ]);
  }
}
