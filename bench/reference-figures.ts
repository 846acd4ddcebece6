import { CreateFlight } from '#lib/flight';
import type { Benchmark } from './bench.js';
import { latencies, percentile, rate, type Figure, type Target } from './measure.js';
import { flight, frame, time, waypoint } from './samples.js';

export const referenceFigures: Benchmark = {
  isPromised: true,
  about:
    'The figures of the flight database contract, through FlightDatabase, one call after another, projector in the same process',
  run: async (bench) => {
    const { rounds, say } = bench;
    const { database, execute } = await bench.waylog(await bench.database());
    const p99 = new Map<string, number[]>();
    const perSecond = new Map<string, number[]>();
    const note = (map: Map<string, number[]>, name: string, value: number) =>
      map.set(name, [...(map.get(name) ?? []), value]);
    for (let round = 0; round < rounds; round++) {
      const id = `reference-${round}`;
      const time99 = async (name: string, count: number, operation: (n: number) => Promise<unknown>) =>
        note(p99, `${name}, p99`, percentile(await latencies(count, operation), 0.99));

      await time99('insert_flight, 100 waypoints', 100, (n) =>
        database.insertFlight(flight(`${id}-${n}`, 100)),
      );
      await execute(new CreateFlight({ flight: flight(id, 2_000) }));
      await execute(new CreateFlight({ flight: flight(`${id}-large`, 3_000) }));
      await time99('update_waypoint', 500, (n) =>
        database.updateWaypoint(id, `w${n}`, waypoint(n, { confidence: round / 10 })),
      );
      await time99('get_flight_by_id, 2,000 waypoints', 100, () => database.getFlightById(id));
      await time99('get_flight_by_id, 3,000 waypoints', 100, () => database.getFlightById(`${id}-large`));
      await time99('save_heading', 500, (n) => database.saveHeading(id, n, n % 360, time(n)));
      note(
        perSecond,
        'update_waypoint, one caller',
        await rate(1, 3, (_, n) =>
          database.updateWaypoint(id, `w${n % 100}`, waypoint(n % 100, { lat: n / 1e6 })),
        ),
      );
      note(
        perSecond,
        'Test 2: updates, frames and headings of one flight, 30 callers',
        await rate(30, 3, (caller, n) => {
          const k = caller * 100_000 + n;
          if (caller % 3 === 0)
            return database.updateWaypoint(id, `w${k % 2_000}`, waypoint(k % 2_000, { lat: n / 1e6 }));
          return caller % 3 === 1
            ? database.saveFrameResult(id, frame(k))
            : database.saveHeading(id, k, k % 360, time(k % 100_000));
        }),
      );
      say(`round ${round + 1} done`);
    }
    const targets: Record<string, Target> = {
      'insert_flight, 100 waypoints, p99': { atMost: 200 },
      'update_waypoint, p99': { atMost: 30 },
      'get_flight_by_id, 2,000 waypoints, p99': { atMost: 100 },
      'get_flight_by_id, 3,000 waypoints, p99': { atMost: 150 },
      'save_heading, p99': { atMost: 10 },
      'update_waypoint, one caller': { atLeast: 100 },
      'Test 2: updates, frames and headings of one flight, 30 callers': { atLeast: 200 },
    };
    const figure =
      (unit: Figure['unit']) =>
      ([name, values]: [string, number[]]): Figure => ({
        name,
        unit,
        rounds: values,
        ...(targets[name] && { target: targets[name] }),
      });
    return [...[...p99].map(figure('ms')), ...[...perSecond].map(figure('/s'))];
  },
};
