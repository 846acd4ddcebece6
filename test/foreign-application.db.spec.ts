import { Controller, Get, Injectable, Module, Param } from '@nestjs/common';
import { CommandBus, CqrsModule, QueryBus } from '@nestjs/cqrs';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test } from '@nestjs/testing';
import { CreateFlight, FlightDatabase, GetFlight, UpdateWaypoint, flight } from '#lib/flight';
import { WaylogModule } from '#lib/waylog';
import pg from 'pg';
import { testDatabase, testServerUrl, type TestDatabase } from './support/database.js';
import { aFlight, aWaypoint } from './support/samples.js';

/** Another application's module: it knows Waylog's buses and FlightDatabase, nothing more. */
@Injectable()
class ResultManager {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly flights: FlightDatabase,
  ) {}

  async refine(flightId: string) {
    await this.flights.insertFlight(aFlight(flightId, 2));
    const { position } = await this.commands.execute(
      new UpdateWaypoint({ flightId, waypoint: aWaypoint(1, { refined: true }), actor: 'result-manager' }),
    );
    return this.queries.execute(new GetFlight(flightId, { minPosition: position }));
  }
}

@Controller('refined')
class RefinedController {
  constructor(private readonly results: ResultManager) {}

  @Get(':id')
  async get(@Param('id') id: string) {
    return (await this.results.refine(id)).waypoints;
  }
}

@Module({ controllers: [RefinedController], providers: [ResultManager] })
class ForeignModule {}

/** It has buses of its own. */
@Module({ imports: [CqrsModule] })
class ModuleWithBuses {}

describe('Waylog in a foreign NestJS application', () => {
  let database: TestDatabase;
  let app: NestFastifyApplication;
  const asked: string[] = [];
  beforeAll(async () => {
    database = await testDatabase();
    const testing = await Test.createTestingModule({
      imports: [
        WaylogModule.forRoot({
          databaseUrl: database.url,
          contexts: [flight],
          onQuery: (query) => {
            asked.push(query);
          },
        }),
        ForeignModule,
        ModuleWithBuses,
      ],
    }).compile();
    app = testing.createNestApplication<NestFastifyApplication>(new FastifyAdapter());
    await app.init();
  });
  afterAll(async () => {
    await app.close();
    await database.drop();
  });

  it('can be injected, and reads what was written', async () => {
    const answer = await app.inject({ method: 'GET', url: '/refined/theirs' });
    expect(answer.json()).toEqual([aWaypoint(0), aWaypoint(1, { refined: true })]);
  });

  it('answers over buses of its own, too, and tells its observer of it', async () => {
    const create = new CreateFlight({ flight: aFlight('asked') });
    const { position } = await app.get(CommandBus).execute(create);
    const theirs = app.select(CqrsModule).get(QueryBus, { strict: true });
    expect(theirs).not.toBe(Reflect.get(app.get(ResultManager), 'queries'));
    asked.length = 0;
    expect((await theirs.execute(new GetFlight('asked', { minPosition: position }))).id).toBe('asked');
    expect(asked).toEqual(['GetFlight']);
  });

  it('adds no routes', async () => {
    expect((await app.inject({ method: 'GET', url: '/v1/flights' })).statusCode).toBe(404);
  });

  it('refuses the same inputs as over HTTP', async () => {
    const flight = { ...aFlight('bad'), altitude: Number.NaN };
    await expect(app.get(CommandBus).execute(new CreateFlight({ flight }))).rejects.toMatchObject({
      code: 'input.invalid',
      data: { errors: [{ field: 'flight.altitude' }] },
    });
    await expect(
      app.get(CommandBus).execute(new CreateFlight({ flight: undefined as never })),
    ).rejects.toMatchObject({
      code: 'input.invalid',
    });
  });
});

describe('an application that is started with a wrong database', () => {
  const start = (databaseUrl: string) =>
    Test.createTestingModule({ imports: [WaylogModule.forRoot({ databaseUrl, contexts: [flight] })] })
      .compile()
      .then((app) => app.close());

  it('is told that none is configured', async () => {
    await expect(start('')).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringMatching(/databaseUrl is missing: give the URL of a migrated database/) as string,
    });
  });

  it('is told that it does not answer', async () => {
    await expect(start('postgres://waylog:waylog@127.0.0.1:1/waylog')).rejects.toMatchObject({
      code: 'database.unavailable',
      message: expect.stringMatching(/^The database did not answer/) as string,
    });
  });

  it('is told that it is not migrated', async () => {
    const name = `waylog_test_empty_${process.pid}`;
    const admin = new pg.Client({ connectionString: testServerUrl() });
    await admin.connect();
    try {
      await admin.query(`create database ${name}`);
      const url = Object.assign(new URL(testServerUrl()), { pathname: `/${name}` }).href;
      await expect(start(url)).rejects.toMatchObject({
        code: 'schema.missing',
        message: expect.stringMatching(/Run `waylog migrate`/) as string,
      });
    } finally {
      await admin.query(`drop database if exists ${name} with (force)`);
      await admin.end();
    }
  });
});
