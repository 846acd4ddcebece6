import { Inject, Injectable } from '@nestjs/common';
import { IsIn, IsInt, Min } from 'class-validator';
import pg from 'pg';
import { LOG_POOL, TABLES_POOL } from '#lib/flight';
import { Nested } from '#lib/platform';

const POOLS = ['log', 'queries', 'tables'] as const;

class Connections {
  /** The most there may be. */
  @IsInt() @Min(0) readonly size!: number;
  /** Open, and used by nobody. */
  @IsInt() @Min(0) readonly checkedIn!: number;
  @IsInt() @Min(0) readonly checkedOut!: number;
  /** Callers that wait for a connection: they wait, instead of there being more than `size`. */
  @IsInt() @Min(0) readonly overflow!: number;
  /** Connections that were lost since the start; each was replaced. */
  @IsInt() @Min(0) readonly invalid!: number;
  @IsInt() @Min(0) readonly totalCreated!: number;
}

export class ConnectionPool extends Connections {
  /** What for: the log with all that commands need, queries of tables, or keeping the tables. */
  @IsIn(POOLS) readonly name!: (typeof POOLS)[number];
}

/** The connections of this process: of all its pools, and of each. */
export class ConnectionPoolStatus extends Connections {
  @Nested(() => ConnectionPool, { each: true }) readonly pools!: ConnectionPool[];
}

/** Looks at the pools of this process. */
@Injectable()
export class Pools {
  readonly #pools: readonly { readonly status: () => ConnectionPool }[];

  constructor(@Inject(LOG_POOL) log: pg.Pool, queries: pg.Pool, @Inject(TABLES_POOL) tables: pg.Pool) {
    this.#pools = [watched('log', log), watched('queries', queries), watched('tables', tables)];
  }

  status(): ConnectionPoolStatus {
    const pools = this.#pools.map(({ status }) => status());
    const sum = (of: keyof Connections) => pools.reduce((total, pool) => total + pool[of], 0);
    return {
      size: sum('size'),
      checkedIn: sum('checkedIn'),
      checkedOut: sum('checkedOut'),
      overflow: sum('overflow'),
      invalid: sum('invalid'),
      totalCreated: sum('totalCreated'),
      pools,
    };
  }
}

function watched(name: ConnectionPool['name'], pool: pg.Pool) {
  let [created, lost] = [0, 0];
  pool.on('connect', () => created++);
  pool.on('error', () => lost++);
  return {
    status: (): ConnectionPool => {
      const { totalCount, idleCount, waitingCount } = pool;
      return {
        name,
        size: pool.options.max,
        checkedIn: idleCount,
        checkedOut: totalCount - idleCount,
        overflow: waitingCount,
        invalid: lost,
        totalCreated: created,
      };
    },
  };
}
