import type { ApiOperationOptions } from '@nestjs/swagger';

type Swagger = typeof import('@nestjs/swagger');

/** What routes say to a reader of the OpenAPI document, until there is one. */
const unwritten: ((swagger: Swagger) => void)[] = [];

/**
 * Says something of a route for the OpenAPI document. It is kept until a document is made: what makes one takes a third
 * of a second to load, and neither the command line nor a process without HTTP has one.
 */
export const inDocument =
  (decorator: (swagger: Swagger) => MethodDecorator): MethodDecorator =>
  (...method) => {
    unwritten.push((swagger) => decorator(swagger)(...method));
  };

/** Says something of all routes of a controller for the OpenAPI document. */
export const allInDocument =
  (decorator: (swagger: Swagger) => ClassDecorator): ClassDecorator =>
  (controller) => {
    unwritten.push((swagger) => decorator(swagger)(controller));
  };

/** The library that makes the document, once it knows what the routes say. */
export async function describedRoutes(): Promise<Swagger> {
  const swagger = await import('@nestjs/swagger');
  for (const describe of unwritten.splice(0)) describe(swagger);
  return swagger;
}

/** What a route does, for people. */
export const Operation = (about: ApiOperationOptions): MethodDecorator =>
  inDocument(({ ApiOperation }) => ApiOperation(about));

/** The chapter of the document in which the routes of a controller stand. */
export const Tag = (name: string): ClassDecorator => allInDocument(({ ApiTags }) => ApiTags(name));
