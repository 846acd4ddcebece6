import { applyDecorators, RequestMethod, SetMetadata, type Type } from '@nestjs/common';
import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import { MetadataScanner } from '@nestjs/core';
// From its own file: the whole adapter takes an eighth of a second, which every command of the CLI would wait for.
import { RouteConfig } from '@nestjs/platform-fastify/decorators/route-config.decorator.js';
import type { FastifyRequest } from 'fastify';
import type { AccessRole } from '#lib/access';
import type { AnyQuery } from '#lib/waylog';
import { inDocument } from './document.js';

/** Who may call a route: anybody without a key, or a caller with this role or a higher one. */
export type NeededRole = 'everybody' | AccessRole;

/** What a route says about itself, for code that runs before it is reached. */
interface RouteFacts {
  readonly role: NeededRole;
  readonly reads: AnyQuery | undefined;
  /** The types of a file that is its body; undefined if its body is JSON. */
  readonly files?: readonly string[];
}

const FACTS = 'waylog';
const ROLE = 'waylog:role';

/**
 * Says who may call a route, and which query it answers: what that weighs, the route weighs. A route without it is for
 * `admin` alone, so that one that somebody adds and forgets is shut, not open.
 */
export const Needs = (role: NeededRole, reads?: AnyQuery): MethodDecorator =>
  applyDecorators(
    RouteConfig({ [FACTS]: { role, reads } satisfies RouteFacts }),
    SetMetadata(ROLE, role),
    inDocument(({ ApiExtension }) => ApiExtension('x-role', role)),
  );

/**
 * Says who may call a route whose body is a file, as it is, and of which types. It is not kept whole before the route is
 * reached, and may be as long as files may be; `SentFile` gives it to the route.
 */
export const TakesFile = (role: NeededRole, types: readonly string[]): MethodDecorator =>
  applyDecorators(
    RouteConfig({ [FACTS]: { role, reads: undefined, files: types } satisfies RouteFacts }),
    SetMetadata(ROLE, role),
    inDocument(({ ApiExtension }) => ApiExtension('x-role', role)),
    inDocument(({ ApiConsumes }) => ApiConsumes(...types)),
    inDocument(({ ApiBody }) => ApiBody({ schema: { type: 'string', format: 'binary' } })),
  );

const factsOf = ({ routeOptions }: FastifyRequest): RouteFacts | undefined =>
  (routeOptions.config as { readonly [FACTS]?: RouteFacts }).waylog;

/** Who may call the route of a request; undefined if it does not say. */
export const roleOfRoute = (request: FastifyRequest): NeededRole | undefined => factsOf(request)?.role;

/** The query that the route of a request answers. */
export const queryOfRoute = (request: FastifyRequest): AnyQuery | undefined => factsOf(request)?.reads;

/** The types of the file that a route takes as its body; undefined if it takes JSON, or nothing. */
export const filesOfRoute = (request: FastifyRequest): readonly string[] | undefined =>
  factsOf(request)?.files;

/** A route, and who may call it. */
export interface RouteWithRole {
  /** Such as `GET`. */
  readonly method: string;
  /** As it is registered, such as `/v1/flights/:id`. */
  readonly path: string;
  readonly role: NeededRole;
}

/** Every route of some controllers, for a review of who may call what. */
export const routesOf = (controllers: readonly Type[]): RouteWithRole[] =>
  controllers.flatMap((controller) => {
    const prototype = controller.prototype as Record<string, object>;
    const base = Reflect.getMetadata(PATH_METADATA, controller) as string;
    return new MetadataScanner().getAllMethodNames(prototype).flatMap((name) => {
      const handler = prototype[name] ?? {};
      const path = Reflect.getMetadata(PATH_METADATA, handler) as string | undefined;
      if (path === undefined) return [];
      const method = RequestMethod[Reflect.getMetadata(METHOD_METADATA, handler) as RequestMethod];
      const parts = [base, path].flatMap((part) => part.split('/')).filter(Boolean);
      const role = (Reflect.getMetadata(ROLE, handler) as NeededRole | undefined) ?? 'admin';
      return [{ method, path: `/${parts.join('/')}`, role }];
    });
  });
