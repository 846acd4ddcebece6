import type { FactoryProvider, Type } from '@nestjs/common';
import type pg from 'pg';
import { MAX_ANSWER_BYTES } from '#lib/platform';
import { LiveRows, loadOmissions } from '#lib/projections';
import { EventReads } from './event-reads.js';
import { RunningContexts } from './running-contexts.js';
import type { StreamReads, StreamReadsOptions } from './stream-reads.js';
import { QUERY_POOL } from './tokens.js';

/**
 * Provides the reads of the streams of a type, over all tables of their context:
 * `readsOf(PlotReads, { stream: plotStream, listedIn: plotsTable, notFound: unknownPlot })`.
 */
export const readsOf = (
  reads: Type<StreamReads>,
  of: Pick<StreamReadsOptions, 'stream' | 'listedIn' | 'notFound'>,
): FactoryProvider => ({
  provide: reads,
  inject: [EventReads, RunningContexts, QUERY_POOL],
  useFactory: (events: EventReads, contexts: RunningContexts, pool: pg.Pool): StreamReads => {
    const { context, watch } = contexts.ofStream(of.stream);
    return new reads({
      ...of,
      projections: context.projections,
      events,
      watch,
      tables: new LiveRows(pool, MAX_ANSWER_BYTES),
      omissions: () => loadOmissions(pool, context.name),
    } satisfies StreamReadsOptions);
  },
});
