import type { INestApplication } from '@nestjs/common';
import type { OpenAPIObject } from '@nestjs/swagger';
import { allComponents, describedRoutes } from '#lib/rest';
import { contexts } from '../../../contexts.js';

/** The OpenAPI document, at /openapi.json and to browse at /docs. */
export async function serveOpenApi(app: INestApplication): Promise<OpenAPIObject> {
  const { DocumentBuilder, SwaggerModule } = await describedRoutes();
  const about = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Waylog')
    .setDescription(
      [
        'An event-sourced backend. A command answers where it left the log; a read can wait for that position ' +
          '(Waylog-Min-Position) or look back (asOf).',
        ...contexts.flatMap(({ about: units }) => units || []),
        'Times are RFC 3339. What GET answers can be sent back as it is to the route that writes it: its id must be that ' +
          'of the path, its times are kept, and parts that the route does not write must be those that are there. The key ' +
          'that opened this page is the one that is sent: Authorize is only for another, or for a browser that does not ' +
          'send it.',
      ].join(' '),
    )
    .setVersion('1')
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: 'An API key, or a JWT.' }, 'key')
    .addSecurityRequirements('key')
    .build();
  const document = SwaggerModule.createDocument(app, about, { operationIdFactory: operationId });
  document.components = {
    ...document.components,
    schemas: allComponents(),
  };
  openToEverybody(document);
  SwaggerModule.setup('docs', app, document, { jsonDocumentUrl: 'openapi.json' });
  return document;
}

/** Such as `flights.create`: a program that is made from the document has its names from here. */
const operationId = (controller: string, method: string): string => {
  const group = controller.replace(/Controller$/, '');
  return `${group.charAt(0).toLowerCase()}${group.slice(1)}.${method}`;
};

/** Says of the routes that everybody may call that they need no key. */
function openToEverybody({ paths }: OpenAPIObject): void {
  for (const item of Object.values(paths))
    for (const method of ['get', 'post', 'put', 'patch', 'delete'] as const) {
      const operation = item[method] as (typeof item.get & { 'x-role'?: string }) | undefined;
      if (operation?.['x-role'] === 'everybody') operation.security = [];
    }
}
