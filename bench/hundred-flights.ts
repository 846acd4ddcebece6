import {
  CreateFlight,
  SaveFrameResult,
  SaveHeading,
  UpdateWaypoint,
  type CommandResult,
  type FlightCommand,
} from '#lib/flight';
import type { Bench } from './bench.js';
import { rate, type Figure } from './measure.js';
import { flight, frame, time, waypoint } from './samples.js';

const FLIGHTS = 100;
const SECONDS = 5;

/** 100 flights written at the same time by one process, every command durable; beside it a plain INSERT a call. */
export async function hundredFlights({ execute, pool, rounds, say }: Bench): Promise<Figure[]> {
  await pool.query(`
    create table if not exists public.plain_frames (
      flight_id text, frame_id integer, lat double precision, lon double precision, altitude double precision,
      heading double precision, confidence double precision, refined boolean, "timestamp" timestamptz,
      primary key (flight_id, frame_id))`);
  const commands: number[] = [];
  const inserts: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const id = (caller: number) => `bench-${round}-${caller}`;
    await Promise.all(
      Array.from({ length: FLIGHTS }, (_, n) => execute(new CreateFlight({ flight: flight(id(n), 10) }))),
    );
    const command = (flightId: string, n: number): FlightCommand => {
      if (n % 3 === 0) return new SaveFrameResult({ flightId, frame: frame(n) });
      if (n % 3 === 1)
        return new SaveHeading({ flightId, heading: { frameId: n, heading: n % 360, timestamp: time(n) } });
      return new UpdateWaypoint({ flightId, waypoint: waypoint(n % 10, { lat: n / 1e6 }) });
    };
    commands.push(
      await rate(FLIGHTS, SECONDS, (caller, n): Promise<CommandResult> => execute(command(id(caller), n))),
    );
    const sql = `insert into public.plain_frames values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`;
    inserts.push(
      await rate(FLIGHTS, SECONDS, (caller, n) => {
        const { gpsCenter, altitude, heading, confidence, refined, timestamp } = frame(n);
        return pool.query({
          name: 'plain-insert',
          text: sql,
          values: [
            id(caller),
            n,
            gpsCenter.lat,
            gpsCenter.lon,
            altitude,
            heading,
            confidence,
            refined,
            timestamp,
          ],
        });
      }),
    );
    say(
      `round ${round + 1}: ${Math.round(commands[round] ?? 0)} commands/s, ${Math.round(inserts[round] ?? 0)} plain inserts/s`,
    );
  }
  return [
    {
      name: '100 flights at once, commands accepted and durable',
      unit: '/s',
      rounds: commands,
      wanted: '>= 1000, none failed',
    },
    { name: 'the same callers, a plain INSERT a call (node-pg)', unit: '/s', rounds: inserts },
  ];
}
