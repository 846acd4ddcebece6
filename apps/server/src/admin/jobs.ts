import { Controller, Delete, Get, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { IsIn, IsNumber, IsObject, IsString } from 'class-validator';
import { v7 as uuid } from 'uuid';
import {
  failureOf,
  IsTimestamp,
  messageOf,
  notFound,
  Optional,
  WaylogError,
  type Timestamp,
  type Writable,
} from '#lib/platform';
import { Answers, Id, Needs, Operation, Tag } from '#lib/rest';

/** `cancelled`: asked to stop, and stopped. */
const STATES = ['running', 'done', 'failed', 'cancelled'] as const;

/** Work that continues after its request has been answered. */
export class Job {
  @IsString() readonly jobId!: string;
  /** What it does, such as `migrate` or `rebuild`. */
  @IsString() readonly kind!: string;
  @IsIn(STATES) readonly state!: (typeof STATES)[number];
  @IsTimestamp() readonly startedAt!: Timestamp;
  @Optional() @IsTimestamp() readonly endedAt?: Timestamp;
  /** The present step, in words; for a failed or cancelled job its last step. Absent once it is done. */
  @Optional() @IsString() readonly step?: string;
  /** From 0 to 1, if known. */
  @Optional() @IsNumber() readonly progress?: number;
  /** The result, once it is done: the same as the answer of a request that does not run in the background. */
  @Optional() @IsObject() readonly result?: object;
  @Optional() @IsString() readonly errorMessage?: string;
  /** The code of a known problem, such as `database.read-only`. */
  @Optional() @IsString() readonly errorCode?: string;
}

export interface JobControl {
  /** Aborted when a caller cancels the job, or the server stops. */
  readonly signal: AbortSignal;
  /** Whether a caller has cancelled it; false if the server stops. */
  readonly isCancelled: () => boolean;
  /** Reports the progress. */
  readonly report: (step: string, progress?: number) => void;
}

/** How many are remembered; the oldest that have ended are forgotten first. */
const MAX_JOBS = 200;

/** The jobs of this process. What must outlive the process, such as the progress of a rebuild, is in the database. */
@Injectable()
export class Jobs implements OnApplicationShutdown {
  readonly #jobs = new Map<
    string,
    { readonly job: Writable<Job>; readonly stop: AbortController; cancelled: boolean }
  >();

  /** Starts `work` and returns at once. */
  start(kind: string, work: (control: JobControl) => Promise<object>): Job {
    const stop = new AbortController();
    const job: Writable<Job> = { jobId: uuid(), kind, state: 'running', startedAt: new Date().toISOString() };
    const entry = { job, stop, cancelled: false };
    this.#jobs.set(job.jobId, entry);
    this.#forget();
    const end = (state: Job['state'], more: Partial<Job>) => {
      Object.assign(job, { state, endedAt: new Date().toISOString() }, more);
      if (state !== 'done') return;
      delete job.step;
      if (job.progress !== undefined) job.progress = 1;
    };
    const report = (step: string, progress?: number) => {
      if (job.state === 'running') Object.assign(job, { step, progress });
    };
    const isCancelled = () => entry.cancelled;
    work({ signal: stop.signal, isCancelled, report }).then(
      (result) => end('done', { result }),
      (thrown: unknown) => {
        const error = failureOf(thrown);
        end(stop.signal.aborted ? 'cancelled' : 'failed', {
          errorMessage: messageOf(error),
          ...(error instanceof WaylogError && { errorCode: error.code }),
        });
      },
    );
    return { ...job };
  }

  /** The newest first. */
  list(): Job[] {
    return [...this.#jobs.values()].map(({ job }) => ({ ...job })).reverse();
  }

  /** Throws `job.not-found`. */
  get(jobId: string): Job {
    return { ...this.#entry(jobId).job };
  }

  /** Asks a job to stop; the job's state shows when it has. Throws `job.not-found`. */
  cancel(jobId: string): Job {
    const entry = this.#entry(jobId);
    entry.cancelled = true;
    entry.stop.abort();
    return { ...entry.job };
  }

  onApplicationShutdown(): void {
    for (const { stop } of this.#jobs.values()) stop.abort();
  }

  #entry(jobId: string) {
    const entry = this.#jobs.get(jobId);
    if (entry) return entry;
    throw notFound(
      'job.not-found',
      `There is no job ${jobId} in this server. Jobs are known to the process that runs them, and until it ends.`,
      { jobId },
    );
  }

  #forget(): void {
    for (const [id, { job }] of this.#jobs) {
      if (this.#jobs.size <= MAX_JOBS) return;
      if (job.state !== 'running') this.#jobs.delete(id);
    }
  }
}

@Tag('admin')
@Controller('v1/admin/jobs')
export class JobsController {
  constructor(private readonly jobs: Jobs) {}

  @Get()
  @Needs('operator')
  @Operation({ summary: 'List jobs of this server' })
  @Answers(200, [Job])
  list() {
    return this.jobs.list();
  }

  @Get(':jobId')
  @Needs('operator')
  @Operation({ summary: 'Read one job' })
  @Answers(200, Job)
  get(@Id('jobId') jobId: string) {
    return this.jobs.get(jobId);
  }

  @Delete(':jobId')
  @Needs('admin')
  @Operation({
    summary: 'Cancel a job',
    description: 'The answer may still say `running`: poll until it says `cancelled`.',
  })
  @Answers(202, Job)
  cancel(@Id('jobId') jobId: string) {
    return this.jobs.cancel(jobId);
  }
}
