import { FreeText, Optional } from '#lib/platform';
import { RequestCommand, slice } from '../command.js';
import { cancelWaiting } from '../tasks/holding.js';
import { existing, refuseEnded } from '../video-request.js';

/**
 * At once if no worker holds a task of it; otherwise a wish: its workers are told with the next answer, and it is cancelled
 * when the last of them has let go.
 */
export class CancelVideoRequest extends RequestCommand {
  @Optional() @FreeText(1_000) readonly reason?: string | null | undefined;
}

export const cancelVideoRequest = slice(
  CancelVideoRequest,
  ({ videoRequestId, reason: given }, request, { at }) => {
    const { tasks, status, isCancelling } = existing(request, videoRequestId);
    if (status === 'cancelled' || isCancelling) return [];
    refuseEnded(request, videoRequestId);
    const reason = given ?? null;
    const isHeld = [...tasks.values()].some((task) => task.status === 'processing');
    return [
      ...(isHeld ? [{ type: 'CancellationRequested' as const, data: { reason, at } }] : []),
      ...cancelWaiting(request, new Map(), at),
      ...(isHeld ? [] : [{ type: 'VideoRequestCancelled' as const, data: { reason, at } }]),
    ];
  },
);
