export * from './context.js';
export { CancelVideoRequest } from './requests/cancel-video-request.js';
export {
  CreateVideoRequest,
  NewVideoRequest,
  UpdateVideoRequest,
  VideoRequestFields,
} from './requests/create-video-request.js';
export * from './requests/processing.js';
export { RetryVideoRequest } from './requests/retry-video-request.js';
export { CancelTask } from './tasks/cancel-task.js';
export { CreateTask, NewTask } from './tasks/create-task.js';
export { DiscardTask, RetryDeadTask } from './tasks/dead-tasks.js';
export { TaskQueue, type Claim, type InHand, type TaskInHand } from './tasks/task-queue.api.js';
export {
  TaskRefused,
  TaskWorker,
  type DoTask,
  type TaskWorkerOptions,
  type Working,
} from './tasks/task-worker.api.js';
export { CreateUser, DeactivateUser, EraseUser, ReactivateUser, UpdateUser } from './users/commands.js';
