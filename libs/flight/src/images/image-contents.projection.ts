import { Projection, remove, removeWhere, upsert, type TableDefinition } from '#lib/projections';
import { flightIdOf, type FlightEvents } from '../events.js';
import { ofFlight } from '../columns.js';

export const imageContentsTable: TableDefinition = {
  source: 'libs/flight/src/images/image-contents.projection.ts',
  schema: 'flight',
  name: 'image_contents',
  comment: 'The images whose bytes are kept with the files.',
  columns: {
    flight_id: 'text',
    frame_id: 'integer',
    sha256: 'text',
    // A file can be larger than an integer says.
    size: 'double precision',
    type: 'text',
    stored_at: 'timestamptz',
  },
  key: ['flight_id', 'frame_id'],
  owner: ofFlight,
  checks: { frame_id: 'frame_id >= 0', size: 'size > 0' },
  erasable: ['sha256', 'size', 'type'],
};

export const imageContents = new Projection<FlightEvents>('image_contents', 1, imageContentsTable)
  .on('ImageContentStored', (event) =>
    upsert({
      flight_id: flightIdOf(event),
      frame_id: event.data.frameId,
      sha256: event.data.sha256,
      size: event.data.size,
      type: event.data.type,
      stored_at: event.data.storedAt,
    }),
  )
  .on('ImageRemoved', (event) => remove({ flight_id: flightIdOf(event), frame_id: event.data.frameId }))
  .on('FlightErased', (event) => removeWhere({ flight_id: flightIdOf(event) }))
  .on('FlightDeleted', (event) => removeWhere({ flight_id: flightIdOf(event) }));
