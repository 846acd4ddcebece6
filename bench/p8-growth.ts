import { GetFrameResults, UpdateFlight } from '#lib/flight';
import { QueryBus } from '@nestjs/cqrs';
import type { Benchmark } from './bench.js';
import { grownDatabase } from './grow.js';
import { inTurn, median, percentile, rate, ratios, secondsOf, type Figure } from './measure.js';
import { restLoad } from './rest-load.js';
import { serverProcess } from './server-process.js';
import { flightIds, waylogWriter, writing } from './writers.js';
import { RunningContexts } from '#lib/waylog';

const CALLERS = 64;
const sizes = {
  '100 thousand events': { flights: 100, eventsEach: 1_000 },
  '10 million events': { flights: 1_000, eventsEach: 10_000 },
} as const;
type Size = keyof typeof sizes;
const [small, large] = Object.keys(sizes) as [Size, Size];

export const p8: Benchmark = {
  about:
    'P8: P1 and P7 on a database with 10 million events and 1,000 flights, beside one with 100 thousand events',
  long: true,
  run: async (bench) => {
    const urls = { [small]: '', [large]: '' } as Record<Size, string>;
    for (const size of [small, large]) {
      const { flights, eventsEach } = sizes[size];
      urls[size] = await grownDatabase(bench, flights, eventsEach);
    }
    // The databases stay: every run has its own flights.
    const ids = `run-${Date.now().toString(36)}-`;
    const both = (measure: (size: Size) => Promise<() => Promise<number>>) =>
      Promise.all([small, large].map(async (size) => [size, await measure(size)] as const)).then((measures) =>
        inTurn(bench.rounds, Object.fromEntries(measures), bench.say),
      );

    bench.say('commands in process');
    const commands = await both(async (size) => {
      const flights = flightIds(CALLERS).map((id) => ids + id);
      return writing(bench, await waylogWriter(bench, urls[size], flights), CALLERS, flights);
    });

    bench.say(
      'an old flight: seconds until its first command is done, and pages of 250 of its frames a second',
    );
    const firstCommands = await both(async (size) => {
      let flight = 0;
      const waylog = await bench.waylog(urls[size], { projector: false });
      return () =>
        secondsOf(() =>
          waylog.execute(
            new UpdateFlight({ flightId: `grown-${flight++}`, changes: { name: `seen in ${ids}` } }),
          ),
        ).then((seconds) => seconds * 1_000);
    });
    const reads = await both(async (size) => {
      const { flights, eventsEach } = sizes[size];
      const queries = (await bench.waylog(urls[size], { projector: false })).app.get(QueryBus);
      return () =>
        rate(4, bench.seconds / 2, (caller, n) =>
          queries.execute(
            new GetFrameResults(`grown-${(caller * 31 + n * 7) % flights}`, {
              from: (n * 13) % (eventsEach / 4),
              limit: 250,
            }),
          ),
        );
    });

    for (const size of [small, large]) {
      // The events of the commands above, also from earlier runs.
      const { app, store, close } = await bench.waylog(urls[size]);
      await app.get(RunningContexts).waitFor(await store.head(), 600_000);
      await close();
    }
    bench.say('over HTTP');
    const waypoints: Record<string, number[]> = {};
    const operations = await both(async (size) => {
      const load = await restLoad(bench, await serverProcess(bench, urls[size]), `${ids}http-`);
      await load.saturated(2);
      await load.paced(4);
      return async () => {
        await load.paced(2);
        const paced = await load.paced(bench.seconds);
        (waypoints[size] ??= []).push(percentile(paced.times.get('update waypoint') ?? [], 0.5));
        return (await load.saturated(bench.seconds)).perSecond;
      };
    });

    const figures = (
      work: string,
      unit: Figure['unit'],
      rounds: Record<string, number[]>,
      isTime: boolean,
    ): Figure[] => {
      const [before = [], after = []] = [rounds[small], rounds[large]];
      return [
        { name: `${work}, ${small}`, unit, rounds: before },
        { name: `${work}, ${large}`, unit, rounds: after },
        {
          name: `${work}: times slower on ${large}`,
          unit: 'x',
          rounds: [median(isTime ? ratios(after, before) : ratios(before, after))],
          ...(work !== FIRST && { target: { atMost: 1.2 } }),
        },
      ];
    };
    return [
      ...figures('commands accepted, 64 callers', '/s', commands, false),
      ...figures('pages of 250 frames of old flights', '/s', reads, false),
      ...figures('HTTP operations, as fast as it goes', '/s', operations, false),
      ...figures('HTTP, paced, update waypoint, p50', 'ms', waypoints, true),
      ...figures(FIRST, 'ms', firstCommands, true),
    ];
  },
};

/** Without a target: its flight has ten times as many events, and they are read once. */
const FIRST = 'the first command on an old flight';
