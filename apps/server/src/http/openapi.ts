import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { neededRole } from '../access/route-roles.js';
import { components } from './schemas.js';

/** The OpenAPI document, at /openapi.json and to browse at /docs. */
export function serveOpenApi(app: INestApplication): OpenAPIObject {
  const about = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Waylog')
    .setDescription(
      'Event-sourced flight data. A command answers where it left the log; a read can wait for that position ' +
        '(Waylog-Min-Position) or look back (asOf). Positions are WGS84 degrees, altitudes metres above mean sea level, ' +
        'headings degrees clockwise from north, times RFC 3339. What GET answers can be sent back as it is to the route ' +
        'that writes it: its id must be that of the path, its times are kept, and parts that the route does not write ' +
        'must be those that are there. The key that opened this page is the one that is sent: Authorize is only for ' +
        'another, or for a browser that does not send it.',
    )
    .setVersion('1')
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: 'An API key, or a JWT.' }, 'key')
    .addSecurityRequirements('key')
    .build();
  const document = SwaggerModule.createDocument(app, about);
  document.components = {
    ...document.components,
    schemas: components(),
  };
  sayRoles(document);
  SwaggerModule.setup('docs', app, document, { jsonDocumentUrl: 'openapi.json' });
  return document;
}

/** Adds to every route what a call requires: `x-role`, and no security if the route is open to all. */
function sayRoles({ paths }: OpenAPIObject): void {
  for (const [path, item] of Object.entries(paths)) {
    for (const method of ['get', 'post', 'put', 'patch', 'delete'] as const) {
      const operation = item[method] as (typeof item.get & { 'x-role'?: string }) | undefined;
      if (!operation) continue;
      const role = neededRole(method.toUpperCase(), path.replaceAll(/\{(\w+)\}/g, ':$1'));
      operation['x-role'] = role;
      if (role === 'everybody') operation.security = [];
    }
  }
}
