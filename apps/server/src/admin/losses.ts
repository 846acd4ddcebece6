import { Controller, Get, Inject, Post, Req } from '@nestjs/common';
import { IsIn, IsString, MaxLength, MinLength } from 'class-validator';
import type { FastifyRequest } from 'fastify';
import pg from 'pg';
import { acknowledgeLoss, Loss, losses } from '#lib/event-store';
import { LOG_POOL } from '#lib/waylog';
import { Example, notFound, Optional } from '#lib/platform';
import { Answers, Id, Needs, Operation, Tag, ValidBody, ValidQuery } from '#lib/rest';

export class LossesQuery {
  /** Only losses that no operator has acknowledged. */
  @Optional() @IsIn(['true', 'false']) readonly open?: string;
}

@Example<Acknowledgement>({
  why: 'Fail-over to a replica that was behind; the tracker sent its commands again.',
})
export class Acknowledgement {
  /** What happened, and what was done about it. */
  @IsString() @MinLength(1) @MaxLength(1_000) readonly why!: string;
}

/** What was lost when the log went back: events that were answered, and that it no longer holds. */
@Tag('admin')
@Controller('v1/admin/log/losses')
export class LossesController {
  constructor(@Inject(LOG_POOL) private readonly pool: pg.Pool) {}

  @Get()
  @Needs('operator')
  @Operation({
    summary: 'List what the log has lost',
    description: 'Answered positions that a log that went back no longer holds; the newest loss first.',
  })
  @Answers(200, [Loss])
  list(@ValidQuery(LossesQuery) { open }: LossesQuery) {
    return losses(this.pool, { open: open === 'true' });
  }

  @Post(':lossId/acknowledgement')
  @Needs('admin')
  @Operation({
    summary: 'Acknowledge a loss',
    description: 'Ends the alert. Who acknowledged it, and why, is kept.',
  })
  @Answers(200, Loss)
  async acknowledge(
    @Id('lossId') lossId: string,
    @ValidBody(Acknowledgement) { why }: Acknowledgement,
    @Req() { actor }: FastifyRequest,
  ) {
    const id = /^\d{1,9}$/.test(lossId) ? Number(lossId) : 0;
    await acknowledgeLoss(this.pool, id, { by: actor ?? 'nobody', why });
    const found = (await losses(this.pool)).find((loss) => loss.id === id);
    if (!found) throw notFound('log.no-such-loss', `There is no loss ${lossId}.`, { id: lossId });
    return found;
  }
}
