import { join } from 'node:path';
import { madeOf, recordedEvents } from '../../../test/support/recorded-log.js';
import { flight } from './context.js';
import { FLIGHT_EVENT_TYPES } from './events.js';

// What each fold, and the fold of a flight's state, has made of this log since it has its version. A change of one of
// them that is meant needs another version, and a line here.
const MADE = {
  'flights 1': '6e057026f4917b79',
  'waypoints 1': 'f9fa4d0f133db0cd',
  'geofences 1': '9fe5939350fae9cb',
  'flight_state 1': '3efa898fe1880a20',
  'frame_results 1': 'f4d58d74ab882f5a',
  'heading_history 1': '431bc66c63a5a84a',
  'flight_days 1': '968d922825e64b82',
  'flight_images 1': '30c2fa1c33d54e76',
  'chunks 1': '8956a5d253a3f3d6',
  'image_contents 1': '52660234f81f4b62',
  'flight 1180137695': '6c90782160b057fe',
};

describe('the folds of flights', () => {
  const events = recordedEvents(join(import.meta.dirname, 'testing/recorded-log.ndjson'));

  it('make of a recorded log what they have made of it before, or have another version', async () => {
    expect(await madeOf(flight, events)).toEqual(MADE);
  });

  it('meet every type of event in it', () => {
    expect(new Set(events.map(({ type }) => type))).toEqual(FLIGHT_EVENT_TYPES);
  });
});
