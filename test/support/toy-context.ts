import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsNumber } from 'class-validator';
import pg from 'pg';
import { Category, type Appended, type Decider } from '#lib/event-store';
import { IsId, IsKnownId, IsTimestamp, Label, conflict } from '#lib/platform';
import { LiveRows, Projection, removeWhere, upsert, type Row, type TableDefinition } from '#lib/projections';
import { context, query, StreamCommand, type Context, type Decide, type StreamType } from '#lib/waylog';

// Cameras and their lenses: a context beside the flight, with an event and a table that have the names of the flight's.

type CameraEvent =
  | { readonly type: 'FlightCreated'; readonly data: { readonly name: string } }
  | { readonly type: 'FlightDeleted'; readonly data: Record<string, never> }
  | { readonly type: 'Measured'; readonly data: { readonly at: string; readonly celsius: number } };
interface Thing {
  readonly name: string | undefined;
  readonly measured: number;
}
const decider: Decider<Thing, CameraEvent> = {
  version: 1,
  initialState: () => ({ name: undefined, measured: 0 }),
  evolve: (thing, { type, data }) => {
    if (type === 'FlightCreated') return { ...thing, name: data.name };
    return type === 'Measured' ? { ...thing, measured: thing.measured + 1 } : decider.initialState();
  },
  fork: (thing) => thing,
  sizeOf: () => 100,
};
export const cameraStream: StreamType<Thing, CameraEvent> = {
  category: new Category('camera'),
  key: 'cameraId',
  decider,
  eventTypes: new Set(['FlightCreated', 'FlightDeleted', 'Measured']),
};
export const lensStream: StreamType<Thing, CameraEvent> = {
  category: new Category('lens'),
  key: 'lensId',
  decider,
  eventTypes: new Set(['FlightCreated', 'FlightDeleted', 'Measured']),
};

export class NameCamera extends StreamCommand<Appended & { readonly cameraId: string }> {
  @IsId() readonly cameraId!: string;
  @Label(100) readonly name!: string;
  constructor(fields: { cameraId: string; name: string; commandId?: string }) {
    super(fields);
  }
}
export class NameLens extends StreamCommand<Appended & { readonly lensId: string }> {
  @IsId() readonly lensId!: string;
  @Label(100) readonly name!: string;
  constructor(fields: { lensId: string; name: string }) {
    super(fields);
  }
}
export class Measure extends StreamCommand<Appended & { readonly cameraId: string }> {
  @IsKnownId() readonly cameraId!: string;
  @IsTimestamp() readonly at!: string;
  @IsNumber() readonly celsius!: number;
  constructor(fields: { cameraId: string; at: string; celsius: number }) {
    super(fields);
  }
}
const named: Decide<NameCamera | NameLens, Thing, CameraEvent> = ({ name }, thing) =>
  thing.name === name ? [] : [{ type: 'FlightCreated', data: { name } }];
const measured: Decide<Measure, Thing, CameraEvent> = ({ cameraId, at, celsius }, { name }) => {
  if (name === undefined) throw conflict('camera.unknown', `There is no camera ${cameraId}. Name it first.`);
  return [{ type: 'Measured', data: { at, celsius } }];
};

export const camerasTable: TableDefinition = {
  source: 'test/support/toy-context.ts',
  schema: 'camera',
  name: 'flights',
  columns: { id: 'text', name: 'text' },
  key: ['id'],
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
type Events = { [E in CameraEvent as E['type']]: E['data'] };
const idOf = ({ streamId }: { readonly streamId: string }) => streamId.slice(streamId.indexOf('-') + 1);
const projections = [
  new Projection<Events>('flights', 1, camerasTable)
    .on('FlightCreated', (event) => upsert({ id: idOf(event), name: event.data.name }))
    .on('FlightDeleted', (event) => removeWhere({ id: idOf(event) })),
  new Projection<Events>('readings', 1, readingsTable)
    .on('Measured', (event) => upsert({ camera: idOf(event), ...event.data }))
    .on('FlightDeleted', (event) => removeWhere({ camera: idOf(event) })),
];

export class GetReadings extends Query<Row[]> {
  constructor(readonly cameraId: string) {
    super();
  }
}
@QueryHandler(GetReadings)
class GetReadingsHandler implements IQueryHandler<GetReadings> {
  constructor(private readonly pool: pg.Pool) {}

  execute({ cameraId }: GetReadings): Promise<Row[]> {
    return new LiveRows(this.pool).select({
      table: readingsTable,
      where: { camera: cameraId },
      orderBy: ['at'],
    });
  }
}

class ReadingsOf {
  @IsKnownId() readonly cameraId!: string;
}
const getReadings = query({
  query: GetReadings,
  handler: GetReadingsHandler,
  parameters: ReadingsOf,
  make: ({ cameraId }) => new GetReadings(cameraId),
});

export const camera: Context = context('camera', {
  streams: [cameraStream, lensStream],
  commands: [
    { stream: cameraStream, command: NameCamera, decide: named },
    { stream: lensStream, command: NameLens, decide: named },
    { stream: cameraStream, command: Measure, decide: measured },
  ],
  projections,
  queries: [getReadings],
});
