import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { WaylogModule } from 'waylog';
import { CreateFlight, flight, GetFlight } from 'waylog/flight';
import 'waylog/server';
import 'waylog/testing';

@Module({
  imports: [WaylogModule.forRoot({ databaseUrl: process.env['DATABASE_URL'] ?? '', contexts: [flight] })],
})
class AppModule {}

async function main(): Promise<void> {
  const app = await NestFactory.createApplicationContext(AppModule, { logger: ['warn', 'error'] });
  const id = `f${process.pid}`;
  const startGps = { lat: 63.4, lon: 10.4 };
  const { position } = await app
    .get(CommandBus)
    .execute(new CreateFlight({ flight: { id, name: 'From CommonJS', startGps, altitude: 120 } }));
  const found = await app.get(QueryBus).execute(new GetFlight(id, { minPosition: position }));
  console.log(typeof require, found.name);
  await app.close();
}
void main();
