import { IsKnownId } from '#lib/platform';
import type { Appended } from '#lib/event-store';
import { slicesOn, StreamCommand } from '#lib/waylog';
import { videoRequestStream } from './video-request.js';

/** What a command on a video request returns: the end of its stream after it. */
export interface RequestResult extends Appended {
  readonly videoRequestId: string;
}

/** A requested change of one video request. `Answer` is what its result has besides request, revision and position. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- it is what its bus answers
export abstract class RequestCommand<Answer extends object = object> extends StreamCommand<
  RequestResult & Answer
> {
  @IsKnownId() readonly videoRequestId!: string;
}

export const slice = slicesOn(videoRequestStream);
