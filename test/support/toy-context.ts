import { Controller, Get, Post, Inject } from '@nestjs/common';
import { CommandBus, Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsNumber } from 'class-validator';
import type pg from 'pg';
import { Category, type Appended, type Decider } from '#lib/event-store';
import { conflict, IsId, IsKnownId, IsTimestamp, Label, notFound } from '#lib/platform';
import { LiveRows, Projection, removeWhere, upsert, type Row, type TableDefinition } from '#lib/projections';
import {
  Answers,
  Freshness,
  Id,
  list,
  Needs,
  object,
  Operation,
  Sender,
  shape,
  Tag,
  text,
  time,
  ValidQuery,
} from '#lib/rest';
import {
  AsOf,
  context,
  query,
  readsOf,
  StreamCommand,
  StreamReads,
  type CommandOptions,
  type Context,
  type Decide,
  type ReadOptions,
  type StreamType,
  QUERY_POOL,
} from '#lib/waylog';

// Cameras and their lenses: a context beside the flight, with an event and a table that have the names of the flight's.

type Events = {
  FlightCreated: { readonly name: string };
  Measured: { readonly at: string; readonly celsius: number };
  FlightDeleted: Record<string, never>;
  NameErased: Record<string, never>;
};
type ThingEvent = { [E in keyof Events]: { readonly type: E; readonly data: Events[E] } }[keyof Events];
type Thing = { readonly name: string | undefined; readonly isErased: boolean };

const decider: Decider<Thing, ThingEvent> = {
  version: 1,
  initialState: () => ({ name: undefined, isErased: false }),
  evolve: (thing, { type, data }) =>
    type === 'FlightCreated' ? { ...thing, name: data.name } : { ...thing, isErased: type === 'NameErased' },
  fork: (thing) => thing,
  sizeOf: () => 100,
};
const stream = (name: string): StreamType<Thing, ThingEvent> => ({
  category: new Category(name),
  key: `${name}Id`,
  decider,
  eventTypes: new Set(['FlightCreated', 'Measured', 'FlightDeleted', 'NameErased']),
  events: { sensitive: { FlightCreated: { name: 'erased' } }, erasedBy: ['NameErased'] },
});
export const cameraStream = stream('camera');
export const lensStream = stream('lens');

export class NameCamera extends StreamCommand<Appended & { readonly cameraId: string }> {
  @IsId() readonly cameraId!: string;
  @Label(100) readonly name!: string;
}
export class NameLens extends StreamCommand<Appended & { readonly lensId: string }> {
  @IsId() readonly lensId!: string;
  @Label(100) readonly name!: string;
}
export class Measure extends StreamCommand<Appended & { readonly cameraId: string }> {
  @IsKnownId() readonly cameraId!: string;
  @IsTimestamp() readonly at!: string;
  @IsNumber() readonly celsius!: number;
}
export class EraseCamera extends StreamCommand<Appended & { readonly cameraId: string }> {
  @IsKnownId() readonly cameraId!: string;
}
const unknown = (id: string) => notFound('camera.unknown', `There is no camera ${id}. Name it first.`);
const named: Decide<NameCamera | NameLens, Thing, ThingEvent> = ({ name }, thing) => {
  if (thing.isErased) throw conflict('camera.erased', 'What was erased does not change any more.');
  return thing.name === name ? [] : [{ type: 'FlightCreated', data: { name } }];
};
const measured: Decide<Measure, Thing, ThingEvent> = ({ cameraId, at, celsius }, { name }) => {
  if (name === undefined) throw unknown(cameraId);
  return [{ type: 'Measured', data: { at, celsius } }];
};
const erased: Decide<EraseCamera, Thing, ThingEvent> = ({ cameraId }, { name, isErased }) => {
  if (name === undefined) throw unknown(cameraId);
  return isErased ? [] : [{ type: 'NameErased', data: {} }];
};

export const thingsTable: TableDefinition = {
  source: 'test/support/toy-context.ts',
  schema: 'camera',
  name: 'flights',
  columns: { id: 'text', kind: 'text', name: 'text' },
  key: ['id', 'kind'],
  erasable: ['name'],
};
export const readingsTable: TableDefinition = {
  source: 'test/support/toy-context.ts',
  schema: 'camera',
  name: 'readings',
  columns: { camera: 'text', at: 'timestamptz', celsius: 'double precision' },
  key: ['camera', 'at'],
  checks: { celsius: 'celsius > -273.15' },
  indexes: { readings_warmest: ['celsius desc'] },
  timeColumn: 'at',
  chunkInterval: '1 day',
};
const keyOf = ({ streamId }: { readonly streamId: string }) => {
  const { category } = cameraStream.category.includes(streamId) ? cameraStream : lensStream;
  return { id: category.idOf(streamId), kind: category.name };
};
const projections = [
  new Projection<Events>('flights', 1, thingsTable)
    .on('FlightCreated', (event) => upsert({ ...keyOf(event), name: event.data.name }))
    .on('NameErased', (event) => upsert({ ...keyOf(event), name: 'erased' }))
    .on('FlightDeleted', (event) => removeWhere(keyOf(event))),
  new Projection<Events>('readings', 1, readingsTable)
    .on('Measured', (event) => upsert({ camera: keyOf(event).id, ...event.data }))
    .on('FlightDeleted', (event) => removeWhere({ camera: keyOf(event).id })),
];

export class GetNames extends Query<Row[]> {
  constructor(readonly cameraId: string) {
    super();
  }
}
@QueryHandler(GetNames)
class GetNamesHandler implements IQueryHandler<GetNames> {
  constructor(@Inject(QUERY_POOL) private readonly pool: pg.Pool) {}

  /** Of a camera, and of the lens that is called as it. */
  execute({ cameraId }: GetNames): Promise<Row[]> {
    const ofBoth = { table: thingsTable, where: { id: cameraId }, orderBy: ['kind'] };
    return new LiveRows(this.pool).select(ofBoth);
  }
}
class OfCamera {
  @IsKnownId() readonly cameraId!: string;
}
const getNames = query({
  query: GetNames,
  handler: GetNamesHandler,
  parameters: OfCamera,
  make: ({ cameraId }) => new GetNames(cameraId),
});

class CameraReads extends StreamReads {}
export class GetReadings extends Query<Row[]> {
  constructor(
    readonly cameraId: string,
    readonly options: ReadOptions = {},
  ) {
    super();
  }
}
@QueryHandler(GetReadings)
class GetReadingsHandler implements IQueryHandler<GetReadings> {
  constructor(private readonly reads: CameraReads) {}

  execute({ cameraId, options }: GetReadings): Promise<Row[]> {
    const ofCamera = { table: readingsTable, where: { camera: cameraId }, orderBy: ['at'] };
    return this.reads.of(cameraId, options, (source) => source.select(ofCamera));
  }
}
class ReadingsOf extends AsOf {
  @IsKnownId() readonly cameraId!: string;
}
const getReadings = query({
  query: GetReadings,
  handler: GetReadingsHandler,
  parameters: ReadingsOf,
  make: ({ cameraId }, options) => new GetReadings(cameraId, options),
});

const Readings = shape('Readings', () =>
  list(object({ camera: text, at: time, celsius: { type: 'number' } })),
);
@Tag('cameras')
@Controller('v1/cameras/:id')
class CamerasController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Get('readings')
  @Needs('reader', getReadings)
  @Operation({ summary: 'Read the temperatures of a camera' })
  @Answers(200, Readings)
  readings(@Id() id: string, @ValidQuery(AsOf) { asOf }: AsOf, @Freshness() options: ReadOptions) {
    return this.queries.execute(new GetReadings(id, { ...options, asOf }));
  }

  @Post('erase')
  @Needs('admin')
  @Operation({ summary: 'Erase the name of a camera' })
  @Answers(204)
  async erase(@Id() cameraId: string, @Sender() sender: CommandOptions) {
    await this.commands.execute(new EraseCamera({ ...sender, cameraId }));
  }
}

export const camera: Context = context('camera', {
  streams: [cameraStream, lensStream],
  commands: [
    { stream: cameraStream, command: NameCamera, decide: named },
    { stream: lensStream, command: NameLens, decide: named },
    { stream: cameraStream, command: Measure, decide: measured },
  ],
  erasures: [{ stream: cameraStream, command: EraseCamera, decide: erased }],
  projections,
  queries: [getNames, getReadings],
  controllers: [CamerasController],
  providers: [readsOf(CameraReads, { stream: cameraStream, listedIn: thingsTable, notFound: unknown })],
});
