import { flightProjections } from '#lib/flight';

// Loaded into a server before anything else (NODE_OPTIONS=--import): its folds have a later version, like those of the
// server of the next deployment.

const version = Number(process.env['FAULTS_PROJECTION_VERSION']);
for (const projection of flightProjections)
  if (['waypoints', 'frame_results'].includes(projection.name))
    (projection as { version: number }).version = version;
