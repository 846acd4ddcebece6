import type { Pool } from 'pg';
import { readRows, timestampFromPostgres } from '#lib/platform';
import type { Backlog, Position } from '../event-store.js';
import { patternsOf, readBacklog } from './read.js';

const hasOthersSql = `select exists (select from log.streams where not stream_id like any ($1))`;

const countSql = `
  select count(*) filter (where s.stream_id like any ($2)), min(e.recorded_at) filter (where s.stream_id like any ($2)),
         max(e.position)
    from log.events e
    join log.streams s using (stream_key)
   where e.position > $1`;

/** Between two positions there is no event of some categories. */
interface Quiet {
  readonly from: Position;
  readonly to: Position;
}

/**
 * Counts the events of some categories after a position. In a log of these categories alone, positions give the count.
 * Otherwise the events are counted, but not again those among which there was none.
 */
export class BacklogsOfCategories {
  readonly #quiet = new Map<string, Quiet>();

  constructor(
    private readonly pool: Pool,
    private readonly compare: (a: Position, b: Position) => number,
  ) {}

  /** What was counted is of a log that went back. */
  forget(): void {
    this.#quiet.clear();
  }

  async of(after: Position, categories: readonly string[]): Promise<Backlog> {
    const patterns = patternsOf(categories);
    const [others] = await readRows(this.pool, 'log.has-others', hasOthersSql, [patterns]);
    if (others?.[0] !== 't') return readBacklog(this.pool, after);
    const known = this.#quiet.get(categories.join());
    const isQuiet = known && this.compare(known.from, after) <= 0 && this.compare(after, known.to) <= 0;
    const from = isQuiet ? known.to : after;
    const [row] = await readRows(this.pool, 'log.count-backlog', countSql, [from, patterns]);
    const [events, since, last] = row ?? [];
    if (events === '0')
      this.#quiet.set(categories.join(), { from: isQuiet ? known.from : after, to: last ?? from });
    return { events: Number(events), since: since ? timestampFromPostgres(since) : undefined };
  }
}
