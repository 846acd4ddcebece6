import type { Projection } from '#lib/projections';
import { flightDays } from './days/flight-days.projection.js';
import { flights } from './flight/flights.projection.js';
import { frameResults } from './frames/frame-results.projection.js';
import { geofences } from './geofences/geofences.projection.js';
import { headingHistory } from './headings/heading-history.projection.js';
import { flightImages } from './images/flight-images.projection.js';
import { flightState } from './processing-state/flight-state.projection.js';
import { chunks } from './route-chunks/chunks.projection.js';
import { waypoints } from './waypoints/waypoints.projection.js';

/** Every table of the flight context. They move together, so that a flight is complete at every checkpoint. */
export const flightProjections = [
  flights,
  waypoints,
  geofences,
  flightState,
  frameResults,
  headingHistory,
  flightDays,
  flightImages,
  chunks,
] as unknown as readonly Projection[];
