import { Inject, Injectable } from '@nestjs/common';
import { IsIn, IsInt, Min } from 'class-validator';
import type pg from 'pg';
import { LOG_POOL, TABLES_POOL, QUERY_POOL } from '#lib/waylog';
import { Nested, type Config } from '#lib/platform';
import { CONFIG } from '../config.js';

const POOLS = ['log', 'queries', 'tables'] as const;

class Connections {
  /** The largest size, without the overflow. */
  @IsInt() @Min(0) readonly size!: number;
  /** Open and idle. */
  @IsInt() @Min(0) readonly checkedIn!: number;
  @IsInt() @Min(0) readonly checkedOut!: number;
  /** How many more there can be while all of those are in use: DATABASE_POOL_OVERFLOW. */
  @IsInt() @Min(0) readonly maxOverflow!: number;
  /** Connections beyond `size` that are open. */
  @IsInt() @Min(0) readonly overflow!: number;
  /** Callers that wait for a connection. */
  @IsInt() @Min(0) readonly waiting!: number;
  /** Connections that were lost since the start; each was replaced. */
  @IsInt() @Min(0) readonly invalid!: number;
  @IsInt() @Min(0) readonly totalCreated!: number;
}

export class ConnectionPool extends Connections {
  /** The purpose: the log with everything that commands need, queries of tables, or keeping the tables. */
  @IsIn(POOLS) readonly name!: (typeof POOLS)[number];
}

/** The connections of this process: of all its pools, and of each. */
export class ConnectionPoolStatus extends Connections {
  @Nested(() => ConnectionPool, { each: true }) readonly pools!: ConnectionPool[];
}

/** Reports on the pools of this process. */
@Injectable()
export class Pools {
  readonly #pools: readonly { readonly status: () => ConnectionPool }[];

  constructor(
    @Inject(LOG_POOL) log: pg.Pool,
    @Inject(QUERY_POOL) queries: pg.Pool,
    @Inject(TABLES_POOL) tables: pg.Pool,
    @Inject(CONFIG) { poolOverflow }: Config,
  ) {
    this.#pools = [watched('log', log), watched('queries', queries, poolOverflow), watched('tables', tables)];
  }

  status(): ConnectionPoolStatus {
    const pools = this.#pools.map(({ status }) => status());
    const sum = (of: keyof Connections) => pools.reduce((total, pool) => total + pool[of], 0);
    return {
      size: sum('size'),
      checkedIn: sum('checkedIn'),
      checkedOut: sum('checkedOut'),
      maxOverflow: sum('maxOverflow'),
      overflow: sum('overflow'),
      waiting: sum('waiting'),
      invalid: sum('invalid'),
      totalCreated: sum('totalCreated'),
      pools,
    };
  }
}

function watched(name: ConnectionPool['name'], pool: pg.Pool, maxOverflow = 0) {
  const size = pool.options.max - maxOverflow;
  let [created, lost] = [0, 0];
  pool.on('connect', () => created++);
  pool.on('error', () => lost++);
  return {
    status: (): ConnectionPool => {
      const { totalCount, idleCount, waitingCount } = pool;
      return {
        name,
        size,
        checkedIn: idleCount,
        checkedOut: totalCount - idleCount,
        maxOverflow,
        overflow: Math.max(0, totalCount - size),
        waiting: waitingCount,
        invalid: lost,
        totalCreated: created,
      };
    },
  };
}
