import { CreateFlight } from '#lib/flight';
import type { Bench } from './bench.js';
import { latencies, percentile, rate, type Figure } from './measure.js';
import { flight, frame, time, waypoint } from './samples.js';

/** The figures that the flight database contract states, through FlightDatabase, each with its read-your-writes. */
export async function referenceFigures({ database, execute, rounds, say }: Bench): Promise<Figure[]> {
  const p99 = new Map<string, number[]>();
  const perSecond = new Map<string, number[]>();
  const note = (map: Map<string, number[]>, name: string, value: number) =>
    map.set(name, [...(map.get(name) ?? []), value]);
  for (let round = 0; round < rounds; round++) {
    const id = `reference-${round}`;
    const time99 = async (name: string, count: number, operation: (n: number) => Promise<unknown>) =>
      note(p99, name, percentile(await latencies(count, operation), 0.99));

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
  const wanted: Record<string, string> = {
    'insert_flight, 100 waypoints': '< 200 ms',
    update_waypoint: '< 30 ms',
    'get_flight_by_id, 2,000 waypoints': '< 100 ms',
    'get_flight_by_id, 3,000 waypoints': '< 150 ms',
    save_heading: '< 10 ms',
    'update_waypoint, one caller': '>= 100/s',
    'Test 2: updates, frames and headings of one flight, 30 callers': '> 200/s',
  };
  const figure =
    (unit: Figure['unit']) =>
    ([name, values]: [string, number[]]): Figure => ({
      name,
      unit,
      rounds: values,
      ...(wanted[name] && { wanted: wanted[name] }),
    });
  return [...[...p99].map(figure('ms p99')), ...[...perSecond].map(figure('/s'))];
}
