import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import { WaylogModule } from 'waylog';
import { flight } from 'waylog/flight';
import { MarkPlot, MeasurePlot, PlotsController, survey } from './survey.js';

// Measures plots until it is killed, with several callers, and says what was answered: `done PLOT COMMAND_ID`.

@Module({
  imports: [
    WaylogModule.forRoot({
      databaseUrl: process.env['DATABASE_URL'] ?? '',
      contexts: process.env['WITH_FLIGHT'] ? [flight, survey] : [survey],
    }),
  ],
  controllers: [PlotsController],
})
class AppModule {}

const app = await NestFactory.create(AppModule, { logger: ['warn', 'error'] });
app.enableShutdownHooks();
await app.listen(0, '127.0.0.1');
console.log(`listens ${await app.getUrl()}`);

const commands = app.get(CommandBus);
const run = process.pid;
const caller = async (n: number): Promise<never> => {
  for (let i = 0; ; i++) {
    const plotId = `p${(n + i) % 7}`;
    await commands.execute(new MarkPlot({ plotId, name: `Plot ${plotId}` }));
    const commandId = `measure-${run}-${n}-${i}`;
    // Each at a time of its own: the key of the table is the plot with the time.
    const at = new Date(Date.UTC(2026, 0, 1) + run * 3_600_000 + n * 600_000 + i).toISOString();
    await commands.execute(new MeasurePlot({ plotId, at, metres: i % 10 === 0 ? 101 : 12.5, commandId }));
    console.log(`done ${plotId} ${commandId}`);
  }
};
if (process.argv[2] === 'load') await Promise.all([0, 1, 2, 3].map(caller));
