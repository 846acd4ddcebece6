import { Controller, Delete, Get, HttpCode, Post } from '@nestjs/common';
import { IsInt, IsNotEmpty, MaxLength, Min } from 'class-validator';
import { Example, IsText, Optional } from '#lib/platform';
import { ReactorStatus, WaitingReaction } from '#lib/reactors';
import { Answers, Id, Needs, Operation, Tag, ValidBody, ValidQuery } from '#lib/rest';
import { RunningReactors } from '#lib/waylog';

/** The actor, until users can be told apart. */
const BY = 'http';

@Example<PauseRequest>({ reason: 'The parcel service is away until noon' })
class PauseRequest {
  /** The reason, for others who see it later. */
  @IsText() @IsNotEmpty() @MaxLength(1_000) readonly reason!: string;
}

@Example<ResetRequest>({ to: 'end' })
class ResetRequest {
  /** A position of the log, `beginning`, or `end`. It acts on what comes after it. */
  @IsText() @IsNotEmpty() @MaxLength(100) readonly to!: string;
}

@Example<RetryRequest>({})
class RetryRequest {
  /** The stream, or the thing with the deadline; all that waits without it. */
  @Optional() @IsText() @IsNotEmpty() @MaxLength(200) readonly of?: string;
}

@Example<DiscardRequest>({ of: 'order-4711', reason: 'The customer was called' })
class DiscardRequest {
  /** The stream, or the thing with the deadline. */
  @IsText() @IsNotEmpty() @MaxLength(200) readonly of!: string;
  /** One deadline of the thing; all of them without it. */
  @Optional() @IsText() @IsNotEmpty() @MaxLength(200) readonly key?: string;
  @IsText() @IsNotEmpty() @MaxLength(1_000) readonly reason!: string;
}

class WaitingQuery {
  /** Which reactor or deadline; all without it. */
  @Optional() @IsText() @IsNotEmpty() @MaxLength(100) readonly reactor?: string;
}

class Retried {
  /** How many are tried again within a second. */
  @IsInt() @Min(0) readonly retried!: number;
}

class Forgotten {
  /** How much waited for it. */
  @IsInt() @Min(0) readonly waited!: number;
}

/** What is done in answer to events, and at deadlines. */
@Tag('admin')
@Controller('v1/admin/reactors')
export class ReactorsController {
  constructor(private readonly reactors: RunningReactors) {}

  @Get()
  @Needs('operator')
  @Operation({ summary: 'List reactors', description: 'State and lag of every reactor and deadline.' })
  @Answers(200, [ReactorStatus])
  list() {
    return this.reactors.states();
  }

  @Get('waiting')
  @Needs('operator')
  @Operation({
    summary: 'List what reactors could not do',
    description:
      'What failed and is tried again, or is parked until somebody decides; the parked first, at most 1,000.',
  })
  @Answers(200, [WaitingReaction])
  waiting(@ValidQuery(WaitingQuery) { reactor }: WaitingQuery) {
    return this.reactors.waiting(reactor);
  }

  @Post(':reactor/pause')
  @Needs('admin')
  @Operation({
    summary: 'Pause a reactor',
    description: 'Stops it within a second, in every process. What it would do is done once it is resumed.',
  })
  @Answers(200, [ReactorStatus])
  async pause(@Id('reactor') reactor: string, @ValidBody(PauseRequest) { reason }: PauseRequest) {
    await this.reactors.pause(reactor, { reason, by: BY });
    return this.list();
  }

  @Post(':reactor/resume')
  @Needs('admin')
  @Operation({ summary: 'Resume a reactor' })
  @Answers(200, [ReactorStatus])
  async resume(@Id('reactor') reactor: string) {
    await this.reactors.resume(reactor);
    return this.list();
  }

  @Post(':reactor/reset')
  @Needs('admin')
  @Operation({
    summary: 'Move a reactor',
    description:
      'It acts on all that comes after the position, again or for the first time. Commands that it has sent for an event are not carried out again.',
  })
  @Answers(200, [ReactorStatus])
  async reset(@Id('reactor') reactor: string, @ValidBody(ResetRequest) { to }: ResetRequest) {
    await this.reactors.reset(reactor, to);
    return this.list();
  }

  @Post(':reactor/retry')
  @HttpCode(200)
  @Needs('admin')
  @Operation({ summary: 'Retry what waits for a reactor' })
  @Answers(200, Retried)
  async retry(@Id('reactor') reactor: string, @ValidBody(RetryRequest) { of }: RetryRequest) {
    return { retried: await this.reactors.retry(reactor, of) };
  }

  @Post(':reactor/discard')
  @Needs('admin')
  @Operation({
    summary: 'Discard what a reactor could not do',
    description: 'Leaves it out for good, and goes on with what comes after it.',
  })
  @Answers(200, [ReactorStatus])
  async discard(
    @Id('reactor') reactor: string,
    @ValidBody(DiscardRequest) { of, key, reason }: DiscardRequest,
  ) {
    await this.reactors.discard(reactor, of, { key, reason, by: BY });
    return this.list();
  }

  @Delete(':reactor')
  @Needs('admin')
  @Operation({
    summary: 'Forget a reactor',
    description: 'Drops the place of one that no context has any more, and what waits for it.',
  })
  @Answers(200, Forgotten)
  async forget(@Id('reactor') reactor: string) {
    return { waited: await this.reactors.forget(reactor) };
  }
}
