import { Controller, Get, Inject, Param } from '@nestjs/common';
import { Query, QueryBus, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { IsNumber } from 'class-validator';
import type pg from 'pg';
import {
  Category,
  context,
  deciderOf,
  IsId,
  IsKnownId,
  IsTimestamp,
  Label,
  notFound,
  Projection,
  QUERY_POOL,
  reactor,
  slicesOn,
  StreamCommand,
  upsert,
  type StreamType,
} from 'waylog';

export type PlotEvents = {
  PlotMarked: { readonly name: string };
  PlotMeasured: { readonly at: string; readonly metres: number };
  PlotSettled: Record<string, never>;
};
export type PlotEvent = {
  [E in keyof PlotEvents]: { readonly type: E; readonly data: PlotEvents[E] };
}[keyof PlotEvents];
interface Plot {
  readonly name: string | undefined;
  readonly isSettled: boolean;
}

export const plotStream: StreamType<Plot, PlotEvent> = {
  category: new Category('plot'),
  key: 'plotId',
  decider: deciderOf<Plot, PlotEvent>({
    version: 1,
    initialState: () => ({ name: undefined, isSettled: false }),
    evolve: (plot, event) => {
      switch (event.type) {
        case 'PlotMarked':
          return { ...plot, name: event.data.name };
        case 'PlotSettled':
          return { ...plot, isSettled: true };
        case 'PlotMeasured':
          return plot;
      }
    },
  }),
  eventTypes: new Set(['PlotMarked', 'PlotMeasured', 'PlotSettled']),
};

export class MarkPlot extends StreamCommand {
  @IsId() readonly plotId!: string;
  @Label(100) readonly name!: string;
}
export class MeasurePlot extends StreamCommand {
  @IsKnownId() readonly plotId!: string;
  @IsTimestamp() readonly at!: string;
  @IsNumber() readonly metres!: number;
}
export class SettlePlot extends StreamCommand {
  @IsKnownId() readonly plotId!: string;
}

const slice = slicesOn(plotStream);
export const markPlot = slice(MarkPlot, ({ name }, plot) =>
  plot.name === name ? [] : [{ type: 'PlotMarked', data: { name } }],
);
export const measurePlot = slice(MeasurePlot, ({ plotId, at, metres }, plot) => {
  if (plot.name === undefined) throw notFound('plot.not-found', `There is no plot ${plotId}.`);
  return [{ type: 'PlotMeasured', data: { at, metres } }];
});
export const settlePlot = slice(SettlePlot, (_, plot) =>
  plot.isSettled ? [] : [{ type: 'PlotSettled', data: {} }],
);

/** A plot of which more than 100 metres were measured is settled. */
export const settleLarge = reactor('settle-large', { version: 1 }).on(
  plotStream,
  'PlotMeasured',
  ({ of, data }) => (data.metres > 100 ? new SettlePlot({ plotId: of }) : undefined),
);

const plotOf = ({ streamId }: { readonly streamId: string }) => plotStream.category.idOf(streamId);

export const plots = new Projection<PlotEvents>('plots', 1, {
  source: 'src/survey.ts',
  schema: 'survey',
  name: 'plots',
  columns: { plot_id: 'text', name: 'text' },
  key: ['plot_id'],
}).on('PlotMarked', (event) => upsert({ plot_id: plotOf(event), name: event.data.name }));

export const measurements = new Projection<PlotEvents>('measurements', 1, {
  source: 'src/survey.ts',
  schema: 'survey',
  name: 'measurements',
  columns: { plot_id: 'text', at: 'timestamptz', metres: 'double precision' },
  key: ['plot_id', 'at'],
  timeColumn: 'at',
  chunkInterval: '7 days',
}).on('PlotMeasured', (event) => upsert({ plot_id: plotOf(event), ...event.data }));

export class CountMeasurements extends Query<number> {
  constructor(readonly plotId: string) {
    super();
  }
}

@QueryHandler(CountMeasurements)
export class CountMeasurementsHandler implements IQueryHandler<CountMeasurements> {
  constructor(@Inject(QUERY_POOL) private readonly pool: pg.Pool) {}

  async execute({ plotId }: CountMeasurements): Promise<number> {
    const { rows } = await this.pool.query<{ count: number }>(
      'select count(*)::integer as count from survey.measurements where plot_id = $1',
      [plotId],
    );
    return rows[0]?.count ?? 0;
  }
}

/** A route of the application's own. */
@Controller('plots')
export class PlotsController {
  constructor(private readonly queries: QueryBus) {}

  @Get(':plotId/measurements')
  async count(@Param('plotId') plotId: string): Promise<{ count: number }> {
    return { count: await this.queries.execute(new CountMeasurements(plotId)) };
  }
}

export const survey = context('survey', {
  streams: [plotStream],
  commands: [markPlot, measurePlot, settlePlot],
  projections: [plots, measurements],
  reactors: [settleLarge],
  providers: [CountMeasurementsHandler],
});
