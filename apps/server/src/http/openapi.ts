import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { components } from './schemas.js';

/** The OpenAPI document, at /openapi.json and to browse at /docs. */
export function serveOpenApi(app: INestApplication): OpenAPIObject {
  const about = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Waylog')
    .setDescription(
      'Event-sourced flight data. A command answers where it left the log; a read can wait for that position ' +
        '(Waylog-Min-Position) or look back (asOf). Positions are WGS84 degrees, altitudes metres above mean sea level, ' +
        'headings degrees clockwise from north, times RFC 3339.',
    )
    .setVersion('1')
    .build();
  const document = SwaggerModule.createDocument(app, about);
  document.components = {
    ...document.components,
    schemas: components(),
  };
  SwaggerModule.setup('docs', app, document, { jsonDocumentUrl: 'openapi.json' });
  return document;
}
