import { flightProjections } from '#lib/flight';

// Loaded into a server before anything else (NODE_OPTIONS=--import): it takes its folds for those of a later version, as
// the server of the next deployment would.

const version = Number(process.env['FAULTS_PROJECTION_VERSION']);
for (const projection of flightProjections)
  if (['waypoints', 'frame_results'].includes(projection.name))
    (projection as { version: number }).version = version;
