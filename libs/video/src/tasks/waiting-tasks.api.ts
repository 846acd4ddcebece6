import type pg from 'pg';
import { readRows } from '#lib/platform';
import type { JsonObject } from '#lib/event-store';

/** A task that waits for a worker, as the tables know it: somebody may have claimed it since. */
export interface WaitingTask {
  readonly videoRequestId: string;
  readonly taskId: string;
  readonly userId: string;
  readonly taskType: string;
  /** How many attempts were begun. */
  readonly attempt: number;
  readonly payload: JsonObject;
}

/** By how much later a task counts as queued than an urgent one, in seconds: none waits for ever behind newer ones. */
const BEHIND = { urgent: 0, high: 600, normal: 3_600, low: 14_400 } as const;

/** How many are fetched at least: each fetch costs a statement. */
const AHEAD = 64;

const FIND = `
  select c.video_request_id, c.id, c.user_id, c.task_type, c.attempt, c.payload
    from unnest($1::text[]) as of_type (name)
   cross join (values ${Object.entries(BEHIND)
     .map(([name, seconds]) => `('${name}', interval '${seconds} s')`)
     .join(', ')}) as p (name, behind)
   cross join lateral (
     select * from video.processing_tasks t
      where t.task_type = of_type.name and t.priority = p.name and t.queued_at is not null
        and (t.available_at is null or t.available_at <= clock_timestamp())
      order by t.queued_at, t.video_request_id, t.id limit $2) c
   order by c.queued_at + p.behind, c.video_request_id, c.id limit $2`;

/**
 * Gives out the tasks that wait, in the order in which they are to be claimed, each once in this process: the tables show a
 * task as waiting until they have followed its claim.
 */
export class WaitingTasks {
  readonly #ofTypes = new Map<string, Lane>();

  constructor(private readonly pool: pg.Pool) {}

  /** The next one of these types; undefined if none waits. */
  async next(types: readonly string[]): Promise<WaitingTask | undefined> {
    const wanted = [...new Set(types)].sort();
    const key = JSON.stringify(wanted);
    let lane = this.#ofTypes.get(key);
    if (!lane) this.#ofTypes.set(key, (lane = new Lane(this.pool, wanted, this.#given)));
    return lane.next();
  }

  readonly #given: Given = new Map();
}

/** The attempt with which each was given out: shown with fewer, it is the past. */
type Given = Map<string, { readonly attempt: number; readonly taskType: string }>;

const keyOf = ({ videoRequestId, taskId }: Pick<WaitingTask, 'videoRequestId' | 'taskId'>): string =>
  `${videoRequestId}\0${taskId}`;

class Lane {
  #ready: WaitingTask[] = [];
  #fetching: Promise<void> | undefined;

  constructor(
    private readonly pool: pg.Pool,
    private readonly types: readonly string[],
    private readonly given: Given,
  ) {}

  async next(): Promise<WaitingTask | undefined> {
    for (let isFetched = false; ; isFetched = true) {
      for (let task = this.#ready.shift(); task; task = this.#ready.shift())
        if (this.#give(task)) return task;
      if (isFetched) return undefined;
      await (this.#fetching ??= this.#fetch().finally(() => {
        this.#fetching = undefined;
      }));
    }
  }

  #give(task: WaitingTask): boolean {
    if (this.#isGiven(task)) return false;
    this.given.set(keyOf(task), { attempt: task.attempt + 1, taskType: task.taskType });
    return true;
  }

  #isGiven(task: WaitingTask): boolean {
    return (this.given.get(keyOf(task))?.attempt ?? 0) > task.attempt;
  }

  async #fetch(): Promise<void> {
    const limit = AHEAD + this.given.size;
    const rows = await readRows(this.pool, 'video.waiting', FIND, [this.types, limit]);
    const found = rows.map(([videoRequestId, taskId, userId, taskType, attempt, payload]): WaitingTask => ({
      videoRequestId: videoRequestId as string,
      taskId: taskId as string,
      userId: userId as string,
      taskType: taskType as string,
      attempt: Number(attempt),
      payload: JSON.parse(payload ?? '{}') as JsonObject,
    }));
    const shown = new Set(found.map(keyOf));
    // The tables have followed the claim of one that is not shown any more.
    for (const [key, { taskType }] of this.given)
      if (this.types.includes(taskType) && !shown.has(key)) this.given.delete(key);
    this.#ready = found.filter((task) => !this.#isGiven(task));
  }
}
