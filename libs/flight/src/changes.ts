import { createFlight } from './flight/create-flight.js';
import { deleteFlight } from './flight/delete-flight.js';
import { updateFlight } from './flight/update-flight.js';
import { saveFrameResult } from './frames/save-frame-result.js';
import { saveFrameResults } from './frames/save-frame-results.js';
import { addGeofence } from './geofences/add-geofence.js';
import { removeGeofence } from './geofences/remove-geofence.js';
import { updateGeofence } from './geofences/update-geofence.js';
import { saveHeading } from './headings/save-heading.js';
import { saveHeadings } from './headings/save-headings.js';
import { removeImage } from './images/remove-image.js';
import { saveImageMetadata } from './images/save-image-metadata.js';
import { saveFlightState } from './processing-state/save-flight-state.js';
import { deleteChunk } from './route-chunks/delete-chunk.js';
import { mergeChunk } from './route-chunks/merge-chunk.js';
import { saveChunkState } from './route-chunks/save-chunk-state.js';
import { addWaypoint } from './waypoints/add-waypoint.js';
import { updateWaypoint } from './waypoints/update-waypoint.js';
import { updateWaypoints } from './waypoints/update-waypoints.js';

/**
 * Every command that changes a flight; a new one needs a file in its folder and a line here. Transact combines them.
 */
export const changes = [
  createFlight,
  updateFlight,
  deleteFlight,
  addWaypoint,
  updateWaypoint,
  updateWaypoints,
  addGeofence,
  updateGeofence,
  removeGeofence,
  saveFlightState,
  saveFrameResult,
  saveFrameResults,
  saveHeading,
  saveHeadings,
  saveImageMetadata,
  removeImage,
  saveChunkState,
  mergeChunk,
  deleteChunk,
] as const;
