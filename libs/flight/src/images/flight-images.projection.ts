import { Projection, remove, removeWhere, upsert, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightEvents } from '../events.js';
import { ofFlight } from '../columns.js';

export const flightImagesTable: TableDefinition = {
  source: 'libs/flight/src/images/flight-images.projection.ts',
  schema: 'flight',
  name: 'flight_images',
  columns: {
    flight_id: 'text',
    frame_id: 'integer',
    file_path: 'text',
    metadata: 'jsonb',
    uploaded_at: 'timestamptz',
  },
  key: ['flight_id', 'frame_id'],
  owner: ofFlight,
  checks: { frame_id: 'frame_id >= 0' },
  erasable: ['file_path', 'metadata'],
};

export const flightImages = new Projection<FlightEvents>('flight_images', 1, flightImagesTable)
  .on('ImageMetadataSaved', (event) =>
    upsert({
      flight_id: flightIdOf(event),
      frame_id: event.data.frameId,
      file_path: event.data.filePath,
      metadata: event.data.metadata,
      uploaded_at: event.data.uploadedAt,
    }),
  )
  .on('ImageRemoved', (event) => remove({ flight_id: flightIdOf(event), frame_id: event.data.frameId }))
  .on('FlightErased', (event) => removeWhere({ flight_id: flightIdOf(event) }))
  .on('FlightDeleted', (event) => removeWhere({ flight_id: flightIdOf(event) }));
