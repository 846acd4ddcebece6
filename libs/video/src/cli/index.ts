import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { Command } from 'commander';
import { counted, duration } from '#lib/platform';
import type { CliTools, ContextCli } from '#lib/waylog';
import { DiscardTask, RetryDeadTask } from '../tasks/dead-tasks.js';
import { GetTaskQueue, ListTasks, type QueueOfType } from '../tasks/tasks.api.js';
import type { TaskView } from '../requests/video-requests.api.js';

export const { commands }: ContextCli = { commands: (tools) => [videoCommand(tools)] };

/** How many dead tasks are shown. */
const SHOWN = 100;

function videoCommand({ print, withWaylog, operator }: CliTools): Command {
  const video = new Command('video')
    .description('The render queue: what waits, what is dead; retry or discard it.')
    .addHelpText(
      'after',
      `
A task that has failed as often as it may is dead: it keeps its payload and its errors, and waits for you. The video request that
needs it has failed with it, and is tried again as a whole: POST /v1/video/requests/ID/retry.`,
    );
  video
    .command('queue', { isDefault: true })
    .description('how much waits, by type of task, and for how long')
    .action(async (_options, command: Command) => {
      const queue = await withWaylog(command, (app) => app.get(QueryBus).execute(new GetTaskQueue()));
      print(command, { queue }, queue.length > 0 ? queue.map(lineOf).join('\n') : 'nothing waits');
    });
  video
    .command('dead')
    .description('tasks that have used up their attempts, the oldest first')
    .option('--type <type>', 'of this type only')
    .action(async ({ type }: { type?: string }, command: Command) => {
      const { items, total } = await withWaylog(command, (app) =>
        app.get(QueryBus).execute(new ListTasks({ status: 'dead', taskType: type, limit: SHOWN })),
      );
      const more = (total ?? 0) > items.length ? `\n... and ${(total ?? 0) - items.length} more` : '';
      print(
        command,
        { tasks: items, total },
        items.length > 0 ? items.map(deadLine).join('\n') + more : 'no task is dead',
      );
    });
  video
    .command('retry')
    .description('let a dead task wait again, with all its attempts before it')
    .argument('<request>', 'id of the video request')
    .argument('<task>', 'id of the task')
    .action(async (videoRequestId: string, taskId: string, _options, command: Command) => {
      const result = await withWaylog(command, (app) =>
        app.get(CommandBus).execute(new RetryDeadTask({ videoRequestId, taskId, actor: operator() })),
      );
      print(command, result, `${taskId} of ${videoRequestId} waits for a worker`);
    });
  video
    .command('discard')
    .description('leave a dead task as it is for good')
    .argument('<request>', 'id of the video request')
    .argument('<task>', 'id of the task')
    .requiredOption('--reason <text>', 'why, for those who look at it later')
    .action(
      async (videoRequestId: string, taskId: string, { reason }: { reason: string }, command: Command) => {
        const discard = new DiscardTask({ videoRequestId, taskId, reason, actor: operator() });
        const result = await withWaylog(command, (app) => app.get(CommandBus).execute(discard));
        print(command, result, `${taskId} of ${videoRequestId} is discarded`);
      },
    );
  return video;
}

function lineOf({ taskType, waiting, scheduled, processing, dead, oldestSince }: QueueOfType): string {
  const since =
    oldestSince === null
      ? ''
      : `, the oldest for ${duration((Date.now() - Date.parse(oldestSince)) / 1_000)}`;
  return `${taskType}: ${counted(waiting, 'task')} waiting${since}; ${scheduled} for later, ${processing} in work, ${dead} dead`;
}

const deadLine = ({ videoRequestId, id, taskType, attempt, updatedAt, errorMessage }: TaskView): string =>
  `${videoRequestId} ${id} (${taskType}), dead since ${updatedAt} after ${counted(attempt, 'attempt')}: ${errorMessage ?? ''}`;
