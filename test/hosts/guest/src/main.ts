import 'reflect-metadata';
import {
  Catch,
  ConsoleLogger,
  Controller,
  Get,
  Module,
  type ArgumentsHost,
  type ExceptionFilter,
  type LogLevel,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import {
  Command,
  CommandBus,
  CommandHandler,
  CqrsModule,
  EventBus,
  EventsHandler,
  ofType,
  QueryBus,
  Saga,
  type ICommandHandler,
  type IEventHandler,
} from '@nestjs/cqrs';
import { Pool } from 'pg';
import { map, type Observable } from 'rxjs';
import { DataSource } from 'typeorm';
import { LoggedEvent, WaylogModule } from 'waylog';
import { CreateFlight, flight, flightStream, GetFlight } from 'waylog/flight';

// An application that had everything of its own before Waylog came: connections, handlers, a saga, a filter, a shutdown. It
// looks at itself, and says in one line of JSON what it saw.

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'uncaughtException', 'unhandledRejection', 'exit'] as const;
const handled = () => Object.fromEntries(SIGNALS.map((name) => [name, process.listenerCount(name)]));
const exits: unknown[] = [];
process.exit = ((code) => exits.push(code)) as typeof process.exit;

const seen = { greeted: [] as string[], created: [] as string[], thanked: [] as string[], shutdowns: 0 };

class Greet extends Command<string> {
  constructor(readonly name: string) {
    super();
  }
}
class Greeted {
  constructor(readonly name: string) {}
}
class Thank extends Command<void> {
  constructor(readonly name: string) {
    super();
  }
}
/** An event of Waylog, for the handlers of the application. */
class Created extends LoggedEvent.of<{ readonly name: string }>(flightStream, 'FlightCreated') {}

@CommandHandler(Greet)
class GreetHandler implements ICommandHandler<Greet> {
  constructor(private readonly events: EventBus) {}

  async execute({ name }: Greet): Promise<string> {
    await this.events.publish(new Greeted(name));
    return `Hello ${name}`;
  }
}
@CommandHandler(Thank)
class ThankHandler implements ICommandHandler<Thank> {
  async execute({ name }: Thank): Promise<void> {
    seen.thanked.push(name);
  }
}
@EventsHandler(Greeted)
class OnGreeted implements IEventHandler<Greeted> {
  handle({ name }: Greeted): void {
    seen.greeted.push(name);
  }
}
@EventsHandler(Created)
class OnCreated implements IEventHandler<Created> {
  handle({ streamId }: Created): void {
    seen.created.push(streamId);
  }
}
class Sagas {
  @Saga()
  thank = (events: Observable<object>): Observable<Thank> =>
    events.pipe(
      ofType(Greeted),
      map(({ name }) => new Thank(name)),
    );
}

@Catch()
class OwnFilter implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): void {
    host.switchToHttp().getResponse().status(418).json({ own: error.message });
  }
}
@Controller()
class OwnController {
  @Get()
  fail(): never {
    throw new Error('as it was');
  }
}

class Settings {
  readonly databaseUrl = process.env['DATABASE_URL'] ?? '';
}
@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

@Module({
  imports: [
    CqrsModule.forRoot(),
    SettingsModule,
    WaylogModule.forRootAsync({
      contexts: [flight],
      imports: [SettingsModule],
      inject: [Settings],
      useFactory: ({ databaseUrl }: Settings) => ({ databaseUrl, eventBus: { events: [Created] } }),
    }),
  ],
  controllers: [OwnController],
  providers: [
    ...[GreetHandler, ThankHandler, OnGreeted, OnCreated, Sagas],
    { provide: APP_FILTER, useClass: OwnFilter },
    {
      provide: Pool,
      inject: [Settings],
      useFactory: ({ databaseUrl }: Settings) =>
        new Pool({ connectionString: databaseUrl, application_name: 'own pool' }),
    },
    {
      provide: DataSource,
      inject: [Settings],
      useFactory: ({ databaseUrl }: Settings) =>
        new DataSource({ type: 'postgres', url: databaseUrl, applicationName: 'own source' }).initialize(),
    },
  ],
})
class AppModule implements OnApplicationShutdown {
  constructor(
    private readonly pool: Pool,
    private readonly source: DataSource,
  ) {}

  async onApplicationShutdown(): Promise<void> {
    seen.shutdowns++;
    // Waylog has ended neither.
    await this.pool.query('select 1');
    await this.source.query('select 1');
    await this.pool.end();
    await this.source.destroy();
  }
}

const logged: string[] = [];
class OwnLogger extends ConsoleLogger {
  protected override printMessages(messages: unknown[], context?: string, level?: LogLevel): void {
    logged.push(...messages.map((message) => `${level} ${context}: ${String(message)}`));
  }
}

const before = handled();
const app = await NestFactory.create(AppModule, { logger: new OwnLogger(), abortOnError: false });
await app.listen(0, '127.0.0.1');
const listening = process.getActiveResourcesInfo().filter((name) => name === 'TCPServerWrap').length;
const answer = await fetch(await app.getUrl());
const filtered = [answer.status, await answer.json()];

const [commands, queries] = [app.get(CommandBus), app.get(QueryBus)];
const greeting = await commands.execute(new Greet('Ada'));
const id = `guest-${process.pid}`;
const { position } = await commands.execute(
  new CreateFlight({ flight: { id, name: 'Guest', startGps: { lat: 63, lon: 10 }, altitude: 100 } }),
);
const found = await queries.execute(new GetFlight(id, { minPosition: position }));
while (!seen.created.includes(`flight-${id}`)) await new Promise((resolve) => setTimeout(resolve, 5));

const nameOf = (query: string, from: { query: (sql: string) => Promise<any> }) => from.query(query);
const whoAmI = `select current_setting('application_name') as name, current_user = session_user as own`;
const ownPool = (await nameOf(whoAmI, app.get(Pool))).rows;
const ownSource = await nameOf(whoAmI, app.get(DataSource));
const during = handled();
await app.close();
console.log(
  JSON.stringify({
    ...{ greeting, found: found.name, id, filtered, listening, ownPool, ownSource, exits, seen },
    newHandlers: SIGNALS.filter((name) => during[name] !== before[name]),
    leftHandlers: SIGNALS.filter((name) => handled()[name] !== before[name]),
    logged: logged.filter((line) => !line.startsWith('log ')),
    waylogSays: logged.filter((line) => line.includes('Waylog')),
  }),
);
