import { context, type Context } from '#lib/waylog';
import { cancelVideoRequest } from './requests/cancel-video-request.js';
import { createVideoRequest, updateVideoRequest } from './requests/create-video-request.js';
import {
  completeVideoRequest,
  failVideoRequest,
  recordPromptAnalysis,
  reportProgress,
  startProcessing,
} from './requests/processing.js';
import { retryVideoRequest } from './requests/retry-video-request.js';
import { cancelTask } from './tasks/cancel-task.js';
import { claimTask } from './tasks/claim-task.js';
import { completeTask } from './tasks/complete-task.js';
import { createTask } from './tasks/create-task.js';
import { discardTask, retryDeadTask } from './tasks/dead-tasks.js';
import { failTask } from './tasks/fail-task.js';
import { endByTimeout, lapseLease, leases, timeouts } from './tasks/lapses.js';
import { releaseTask } from './tasks/release-task.js';
import { reportTaskProgress } from './tasks/report-progress.js';
import { createUser, deactivateUser, eraseUser, reactivateUser, updateUser } from './users/commands.js';
import { userStream } from './users/user.js';
import { videoRequestStream } from './video-request.js';

/** Videos that are rendered from prompts, by workers that claim tasks. Not among those of the server yet. */
export const video: Context = context('video', {
  streams: [userStream, videoRequestStream],
  commands: [
    createUser,
    updateUser,
    deactivateUser,
    reactivateUser,
    createVideoRequest,
    updateVideoRequest,
    startProcessing,
    reportProgress,
    recordPromptAnalysis,
    completeVideoRequest,
    failVideoRequest,
    cancelVideoRequest,
    retryVideoRequest,
    createTask,
    claimTask,
    reportTaskProgress,
    completeTask,
    failTask,
    releaseTask,
    cancelTask,
    retryDeadTask,
    discardTask,
    lapseLease,
    endByTimeout,
  ],
  erasures: [eraseUser],
  deadlines: [leases, timeouts],
});
