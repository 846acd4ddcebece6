import { CommandBus } from '@nestjs/cqrs';
import type pg from 'pg';
import { Listener } from '#lib/platform';
import { context, QUERY_POOL, readsOf, type Context } from '#lib/waylog';
import { VideoRequestReads, videoRequestsPart } from './requests/video-requests.api.js';
import { videoRequestsTable } from './requests/video-requests.projection.js';
import { leases, timeouts } from './tasks/lapses.js';
import { TaskQueue } from './tasks/task-queue.api.js';
import { tasksPart } from './tasks/tasks.api.js';
import { eraseUser } from './users/commands.js';
import { userNotFound, userStream } from './users/user.js';
import { UserReads, usersPart } from './users/users.api.js';
import { usersTable } from './users/users.projection.js';
import { videoRequestNotFound, videoRequestStream } from './video-request.js';

/** Videos that are rendered from prompts, by workers that claim tasks. Not among those of the server yet. */
export const video: Context = context('video', {
  streams: [userStream, videoRequestStream],
  parts: [usersPart, videoRequestsPart, tasksPart],
  erasures: [eraseUser],
  deadlines: [leases, timeouts],
  cli: () => import('./cli/index.js'),
  providers: [
    readsOf(UserReads, { stream: userStream, listedIn: usersTable, notFound: userNotFound }),
    readsOf(VideoRequestReads, {
      stream: videoRequestStream,
      listedIn: videoRequestsTable,
      notFound: videoRequestNotFound,
    }),
    {
      provide: TaskQueue,
      inject: [CommandBus, QUERY_POOL, Listener],
      useFactory: (commands: CommandBus, pool: pg.Pool, listener: Listener) =>
        new TaskQueue(commands, pool, listener),
    },
  ],
});
