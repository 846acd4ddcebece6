import type pg from 'pg';
import { flight } from '#lib/flight';
import { context, LOG_POOL, RunningContexts, TABLES_POOL, type Context, QUERY_POOL } from '#lib/waylog';

/** Its provider throws when all that an application opens is open: connections of each pool, and those that listen. */
export const failing: Context = context('failing', {
  streams: [],
  providers: [
    {
      provide: 'FAILING',
      inject: [LOG_POOL, QUERY_POOL, TABLES_POOL, RunningContexts],
      useFactory: async (...[log, queries, tables]: [pg.Pool, pg.Pool, pg.Pool]) => {
        // What a context has for itself, only its own code could close.
        if (process.env['FAILING_KEEPS_OPEN']) setInterval(() => undefined, 1_000);
        for (const pool of [log, queries, tables]) await pool.query('select 1');
        throw new Error('The sensor of the context is not plugged in.');
      },
    },
  ],
});

/** In place of those of apps/contexts.ts. */
export const contexts: readonly Context[] = [flight, failing];
