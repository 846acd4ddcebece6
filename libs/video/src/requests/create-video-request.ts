import { isDeepStrictEqual } from 'node:util';
import { IsInt, IsNumber, Matches, Max, Min } from 'class-validator';
import {
  all,
  conflict,
  Example,
  FreeText,
  IsId,
  IsJsonObject,
  IsKnownId,
  Label,
  Nested,
  Optional,
  Sample,
} from '#lib/platform';
import type { JsonObject } from '#lib/event-store';
import { idOf, newId, type CommandOptions } from '#lib/waylog';
import { RequestCommand, slice } from '../command.js';
import type { RequestDetails } from '../events.js';
import { Pixels } from '../fields.js';
import { existingUser, userStream } from '../users/user.js';
import { existing } from '../video-request.js';

/** A language by BCP 47, such as `es` or `pt-BR`. */
const Language = () => all(Matches(/^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$/), Sample('es'));

/** What a video is to be made from. */
export class VideoRequestFields {
  @Label(200) readonly title!: string;
  @Label(50_000) readonly textPrompt!: string;
  @Optional() @FreeText(10_000) readonly description?: string | null | undefined;
  /** Default `ugc_video_ad`. */
  @Optional() @Label(50) readonly ugcType?: string | null | undefined;
  /** Default `es`. */
  @Optional() @Language() readonly language?: string | null | undefined;
  /** Seconds; default 3. */
  @Optional() @IsNumber() @Min(0.04) @Max(3_600) readonly durationPerImage?: number | null | undefined;
  /** Default 1080. */
  @Optional() @Pixels() readonly resolutionWidth?: number | null | undefined;
  /** Default 1920. */
  @Optional() @Pixels() readonly resolutionHeight?: number | null | undefined;
  /** Seconds that the work is expected to take. */
  @Optional() @IsInt() @Min(0) @Max(31_536_000) readonly estimatedDuration?: number | null | undefined;
  @Optional() @IsJsonObject() readonly metadata?: JsonObject | null | undefined;
}

/** Gets an id if it has none. */
@Example<NewVideoRequest>({
  id: 'v1',
  userId: 'u1',
  title: 'A day at the fjord',
  textPrompt: 'Six pictures of a fjord, from dawn to dusk.',
})
export class NewVideoRequest extends VideoRequestFields {
  @Optional() @IsId() readonly id?: string | null | undefined;
  @IsKnownId() readonly userId!: string;
}

export const detailsOf = (fields: VideoRequestFields, userId: string): RequestDetails => ({
  userId,
  title: fields.title,
  textPrompt: fields.textPrompt,
  description: fields.description ?? null,
  ugcType: fields.ugcType ?? 'ugc_video_ad',
  language: fields.language ?? 'es',
  durationPerImage: fields.durationPerImage ?? 3,
  resolutionWidth: fields.resolutionWidth ?? 1080,
  resolutionHeight: fields.resolutionHeight ?? 1920,
  estimatedDuration: fields.estimatedDuration ?? null,
  metadata: fields.metadata ?? {},
});

export class CreateVideoRequest extends RequestCommand {
  @IsId() override readonly videoRequestId!: string;
  @Nested(() => NewVideoRequest) readonly request!: NewVideoRequest;

  constructor(fields: { readonly request: NewVideoRequest } & CommandOptions) {
    super({
      ...fields,
      videoRequestId: idOf(fields.request) ?? newId(fields.commandId, 'video request'),
    });
  }
}

/** Of an active user. */
export const createVideoRequest = slice(
  CreateVideoRequest,
  { reads: ({ request: { userId } }) => ({ user: { stream: userStream, id: userId } }) },
  ({ videoRequestId, request }, known, { at, reads: { user } }) => {
    const { userId } = request;
    if (known.details)
      throw conflict(
        'video-request.already-exists',
        `There is a video request ${videoRequestId} already. Leave the id out to get a new one.`,
        { videoRequestId },
      );
    existingUser(user, userId);
    if (!user.isActive)
      throw conflict('user.inactive', `User ${userId} is not active: reactivate it first.`, { userId });
    return [{ type: 'VideoRequestCreated', data: { ...detailsOf(request, userId), at } }];
  },
);

/** Changes what a video is made from, all of it, while nobody has begun. */
export class UpdateVideoRequest extends RequestCommand {
  @Nested(() => VideoRequestFields) readonly request!: VideoRequestFields;
}

export const updateVideoRequest = slice(
  UpdateVideoRequest,
  ({ videoRequestId, request: fields }, request, { at }) => {
    const { details, status } = existing(request, videoRequestId);
    if (status !== 'queued')
      throw conflict(
        'video-request.not-queued',
        `Video request ${videoRequestId} is ${status}: it changes only while it is queued.`,
        { videoRequestId, status },
      );
    const changed = detailsOf(fields, details.userId);
    return isDeepStrictEqual(changed, details)
      ? []
      : [{ type: 'VideoRequestUpdated', data: { ...changed, at } }];
  },
);
