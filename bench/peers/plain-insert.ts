import pg from 'pg';
import { frame } from '../samples.js';
import { CONNECTIONS, type OpenWriter } from './peer.js';

const table = `
  create table if not exists public.plain_frames (
    flight_id text, caller integer, frame_id integer, lat double precision, lon double precision,
    altitude double precision, heading double precision, confidence double precision, refined boolean,
    "timestamp" timestamptz, primary key (flight_id, caller, frame_id))`;

let run = 0;

/** What a service without an event log does: one prepared INSERT per call, on a pool. */
export const plainInsert: OpenWriter = async (url) => {
  const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS });
  await pool.query(table);
  const first = ++run * 10_000_000;
  return {
    name: 'plain INSERT (node-pg)',
    write: (flightId, caller, n) => {
      const { gpsCenter, altitude, heading, confidence, refined, timestamp } = frame(n);
      return pool.query({
        name: 'plain-insert',
        text: `insert into public.plain_frames values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
        values: [
          flightId,
          caller,
          first + n,
          gpsCenter.lat,
          gpsCenter.lon,
          altitude,
          heading,
          confidence,
          refined,
          timestamp,
        ],
      });
    },
    close: () => pool.end(),
  };
};
