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

const factsOf = ({ routeOptions }: FastifyRequest): RouteFacts | undefined =>
  (routeOptions.config as { readonly [FACTS]?: RouteFacts }).waylog;

/** Who may call the route of a request; undefined if it does not say. */
export const roleOfRoute = (request: FastifyRequest): NeededRole | undefined => factsOf(request)?.role;

/** The query that the route of a request answers. */
export const queryOfRoute = (request: FastifyRequest): AnyQuery | undefined => factsOf(request)?.reads;

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
